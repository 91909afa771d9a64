"""Tests of ``hiermodels.families``."""
