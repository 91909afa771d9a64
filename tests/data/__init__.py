"""Tests of ``hiermodels.data``."""
