"""Names of dimensions, and the number of what stands above all levels."""

from __future__ import annotations

COEFFICIENT_DIM = "coef"  # of the coefficients of the covariates
EFFECT_DIM = "effect"  # of several effects of a group
PAIR_DIM = "pair"  # of pairs of these
SAMPLE_DIMS = ("chain", "draw")
ROOT = -1  # above the outermost level, 0; the rows stand below the innermost
QUANTILES = {"5%": 0.05, "50%": 0.5, "95%": 0.95}
TESTED = ("mean", *QUANTILES, "uniformity")
