"""Tests of ``hiermodels.numerics``."""
