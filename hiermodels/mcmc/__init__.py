"""From a specification to a PyMC model, and NUTS."""
