"""Tests of ``hiermodels.plots``."""
