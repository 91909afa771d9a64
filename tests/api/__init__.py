"""Tests of ``hiermodels.api``."""
