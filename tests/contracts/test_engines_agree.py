"""Every engine and parameterization on the bundled data sets, judged by ``hm.compare``.

``benchmarks/bench_nuts.py agree`` does the same for more data sets; those here are small.  What has
two levels is sampled by NUTS in ``mcmc/test_nuts.py``, in each parameterization, with known errors
(eight schools, as baseball would be) and with an unknown sigma and a covariate (as Dyestuff would
be); and so are one population and the default for Pastes, which mixes two forms.  Slopes with their
coefficients integrated out are sampled in ``mcmc/test_blocks_nuts.py``, with a level below.  Where
the default takes one of the other parameterizations its draws are theirs, which is tested in
``test_parameterization``.  Centred models are tested where tau is clear of 0: near 0 it depends on
the seed and the platform whether their chains come back in time, and they may be wrong even so
(``test_compare_is_calibrated``).
"""

from __future__ import annotations

import pytest

import hiermodels as hm
from tests.oracles.rows_of_counts import binary

RARE = 1e-4  # how often a right sampler may fail, on a platform where its draws are others
WAYS = {
    "exact": {},
    "importance": {"engine": "importance"},
    "marginal": {"engine": "nuts", "parameterization": "marginal"},
    "noncentered": {"engine": "nuts", "parameterization": "noncentered"},
    "centered": {"engine": "nuts", "parameterization": "centered"},
}
MODELS = {
    "baseball": (
        hm.datasets.load_baseball,
        {"outcome": "y", "groups": "player", "se": "sigma"},
        ["exact"],
    ),
    "eight schools": (hm.datasets.load_eight_schools, {}, ["exact"]),
    "eight schools, proper priors": (
        hm.datasets.load_eight_schools,
        {"priors": {"tau": hm.HalfCauchy(5), "mu": hm.Normal(0, 20)}},
        ["exact"],
    ),
    "school calendar": (
        hm.datasets.load_school_calendar,
        {"outcome": "y", "groups": ["district", "school"], "se": "se"},
        ["exact", "centered"],
    ),
    "Dyestuff": (
        hm.datasets.load_dyestuff,
        {"formula": "yield_ ~ (1 | batch)"},
        ["exact"],
    ),
    "Pastes": (
        hm.datasets.load_pastes,
        {"formula": "strength ~ (1 | batch/cask)"},
        ["exact", "marginal", "noncentered"],
    ),
    "sleep study": (
        hm.datasets.load_sleepstudy,
        {"formula": "Reaction ~ Days + (1 + Days | Subject)"},
        ["exact", "noncentered"],
    ),
    "binary rows in rooms": (
        binary,
        {
            "formula": "y ~ x + (1 | room)",
            "family": "binomial",
            "priors": {"tau": hm.HalfNormal(0.7), "mu": hm.Normal(0, 1), "beta": hm.Normal(0, 1)},
        },
        ["exact", "importance"],
    ),
    "one population": (
        lambda: hm.datasets.load_baseball()[["y"]],
        {
            "outcome": "y",
            "groups": [],
            "priors": {"theta": hm.NormalInverseGamma(0.25, 1, 2, 0.01)},
        },
        ["exact"],
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hiermodels.mcmc.convergence.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::hiermodels.errors.PrecisionWarning")
@pytest.mark.parametrize(
    ("name", "way"), [(name, way) for name, (_, _, ways) in MODELS.items() for way in ways]
)
def test_draws_agree_with_the_exact_posterior(name, way):
    load, model, _ = MODELS[name]
    fit = hm.fit(load(), **model, **WAYS[way], random_seed=2)
    comparison = hm.compare(fit, fit.reference(), alpha=RARE)
    assert comparison.passed, comparison.verdict
