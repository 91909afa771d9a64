"""Input that nobody should give, files that are damaged, processes that are interrupted."""
