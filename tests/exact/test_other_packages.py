"""Estimates of other packages that the documentation quotes, against our own likelihood."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.kernels.tree import marginal as recursion
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize

# Sds (tau, kappa, sigma) of lme4 1.1.31 (Dyestuff, Pastes), and of metafor's tests of
# dat.konstantopoulos2011, there as variances.
REML = {
    "dyestuff": (hm.datasets.load_dyestuff(), "yield_ ~ (1 | batch)", (42.000595, 49.510100)),
    "pastes": (
        hm.datasets.load_pastes(),
        "strength ~ (1 | batch/cask)",
        (2.90407747, 1.28736588, 0.82340752),
    ),
    "calendar": (
        hm.datasets.load_school_calendar(),
        "y ~ (1 | district/school)",
        (np.sqrt(0.03273652), np.sqrt(0.06506194)),
    ),
}


@pytest.mark.parametrize("name", REML)
def test_reml_is_the_mode_under_flat_priors_of_the_variances(name):
    """The derivative by each log sd is 0: less than a thousandth of a step from the maximum."""
    data, formula, sds = REML[name]
    spec, grouped = prepare(data, formula, se="se" if name == "calendar" else None)
    marginal = Marginal.of(spec, standardize(grouped))

    def log_likelihood(t):
        variances = marginal.variances_of(np.exp(t))
        return recursion.log_likelihood(marginal.data.tree, variances, marginal.coefficients)

    t, h = np.log(sds), 1e-3
    for axis in np.eye(len(t)):
        below, here, above = log_likelihood(np.array([t - h * axis, t, t + h * axis]))
        slope, curvature = (above - below) / (2 * h), (above - 2 * here + below) / h**2
        assert curvature < 0
        assert abs(slope / curvature) < 1e-5


def test_reml_of_the_eight_schools_is_zero():
    spec, grouped = prepare(hm.datasets.load_eight_schools())
    marginal = Marginal.of(spec, standardize(grouped))
    tau = np.array([0.0, *np.geomspace(1e-3, 100, 200)])[:, None]
    variances = marginal.variances_of(tau)
    values = recursion.log_likelihood(marginal.data.tree, variances, marginal.coefficients)
    assert np.argmax(values) == 0
