"""Names of dimensions."""

from __future__ import annotations

COEFFICIENT_DIM = "coef"  # of the coefficients of the covariates
SAMPLE_DIMS = ("chain", "draw")
QUANTILES = {"5%": 0.05, "50%": 0.5, "95%": 0.95}
JUDGED = ("mean", *QUANTILES, "uniformity")
