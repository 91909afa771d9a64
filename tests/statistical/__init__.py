"""Claims on rates and laws, held by simulation with a fixed seed."""
