"""Tests of ``hiermodels.posterior``."""
