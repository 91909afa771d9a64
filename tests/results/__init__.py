"""Tests of ``hiermodels.results``."""
