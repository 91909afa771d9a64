"""Tests of ``hiermodels.mcmc``."""
