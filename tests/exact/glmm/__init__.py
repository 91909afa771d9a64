"""Tests of ``hiermodels.exact.glmm``."""
