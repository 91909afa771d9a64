"""Tests of ``hiermodels.io``."""
