"""Tests of ``hiermodels.exact``."""
