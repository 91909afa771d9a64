"""Tests of ``hiermodels.model``."""
