"""Tests of ``hiermodels.exact.kernels``."""
