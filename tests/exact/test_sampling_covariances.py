"""Known covariances of outcomes within studies, as models with several effects.

The figures, ``sampling_covariances.json``, were computed apart from this package, on two lattices
that agree to 1e-10 posterior sds.  Data: Berkey et al. (1998), Statistics in Medicine 17:2537 (two
outcomes of five trials of periodontal treatments); Assink & Wibbelink (2016), The Quantitative
Methods for Psychology 12:154 (100 effects of 17 studies); both as in the R package metadat.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.blocks.hyper_laws import HyperLaws
from hiermodels.exact.blocks.model import BlockModel, CovariancePrior
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.kernels.blocks.blocks import Blocks
from tests import oracles
from tests.exact.test_block_posterior import assert_moments
from tests.oracles.slopes import PROBABILITIES

FIGURES = json.loads(
    (Path(oracles.__file__).parent / "sampling_covariances.json").read_text(encoding="utf-8")
)


def test_several_outcomes_of_each_study():
    """Rows of a study are whitened: ``y = θ + N(0, V)``, ``W y = W θ + N(0, I)``, ``W'W = V⁻¹``."""
    known = FIGURES["berkey1998"]
    data = {name: np.array(values) for name, values in known["data"].items()}
    z, y = np.zeros((10, 2)), np.zeros(10)
    for rows in np.arange(10).reshape(5, 2):
        v = np.column_stack([data["v1i"][rows], data["v2i"][rows]])
        white = np.linalg.inv(np.linalg.cholesky(v))
        z[rows], y[rows] = white, white @ data["yi"][rows]
    blocks = Blocks.of((z, np.zeros((10, 0)), y), np.repeat(np.arange(5), 2))
    level = CovariancePrior((hm.HalfNormal(0.5), hm.HalfNormal(0.5)), 1.0)
    posterior = BlockPosterior.of(BlockModel.of(blocks, (level,), hm.Fixed(1)))
    hyper = known["hyper"]
    sds = [[hyper[k][m] for k in ("tau0", "tau1")] for m in ("mean", "sd")]
    assert_moments([part[:2] for part in posterior.sd_moments()], sds)
    rho = hyper["rho"]
    assert_moments(posterior.correlation_moments(), [[rho["mean"]], [rho["sd"]]])
    for found, key in (
        (posterior.coefficient_moments(), "coefficients"),
        (posterior.effect_moments(0), "effects"),
    ):
        assert_moments(found, [known[key]["mean"], known[key]["sd"]])
    laws, p = HyperLaws(posterior), np.array(PROBABILITIES)
    for j, key in enumerate(("tau0", "tau1")):
        error = (laws.sd_quantiles(j, p) - hyper[key]["quantiles"]) / hyper[key]["sd"]
        assert np.abs(error).max() < 1e-5
    error = (laws.correlation_quantiles(0, p) - rho["quantiles"]) / rho["sd"]
    assert np.abs(error).max() < 1e-5


def test_correlated_effects_of_studies():
    """Rows of a study are turned into the axes of its V, where their errors are independent.

    Effects within studies, of equal variances, stay so; a study's effect has a loading in each row:
    one effect that varies between studies, with these for z, and one that varies within them.
    """
    known = FIGURES["assink2016"]
    data = {name: np.array(values) for name, values in known["data"].items()}
    n = len(data["yi"])
    z, y, weight = np.ones((n, 2)), np.zeros(n), np.zeros(n)
    study = data["study"].astype(int) - 1
    for s in range(17):
        rows = np.flatnonzero(study == s)
        sd = np.sqrt(data["vi"][rows])
        correlation = np.where(np.eye(len(rows)), 1.0, 0.6)
        variances, axes = np.linalg.eigh(sd[:, None] * correlation * sd)
        z[rows, 0], y[rows] = axes.sum(axis=0), axes.T @ data["yi"][rows]
        weight[rows] = 1 / variances
    columns = z, np.zeros((n, 0)), y
    blocks = Blocks.of(columns, np.arange(n), (study,), weight, fixed=(True, False))
    flat = hm.FlatVariance()
    levels = CovariancePrior((flat, None)), CovariancePrior((None, flat))
    posterior = BlockPosterior.of(BlockModel.of(blocks, levels, hm.Fixed(1)))
    hyper = [known["hyper"][k] for k in ("kappa", "tau")]
    assert_moments(
        [part[:2] for part in posterior.sd_moments()],
        [[h[m] for h in hyper] for m in ("mean", "sd")],
    )
    top, mid = ([known[k][m] for m in ("mean", "sd")] for k in ("top", "mid"))
    assert_moments([part[0] for part in posterior.coefficient_moments()], top)
    assert_moments([part[0] for part in posterior.effect_moments(0)], mid)
    laws, p = HyperLaws(posterior), np.array(PROBABILITIES)
    for j, h in enumerate(hyper):
        assert np.abs(laws.sd_quantiles(j, p) - h["quantiles"]).max() / h["sd"] < 1e-5


def berkey():
    """The two outcomes of each trial, and the covariance of all rows."""
    data = FIGURES["berkey1998"]["data"]
    frame = pd.DataFrame({"yi": data["yi"], "trial": np.array(data["trial"], dtype=int)})
    frame["outcome"] = ["PD", "AL"] * 5
    v = np.zeros((10, 10))
    pairs = np.column_stack([data["v1i"], data["v2i"]]).reshape(5, 2, 2)
    for trial, matrix in enumerate(pairs):
        v[2 * trial :, 2 * trial :][:2, :2] = matrix
    return frame, v


def assink():
    """Effects of studies with their variances."""
    data = FIGURES["assink2016"]["data"]
    frame = pd.DataFrame({"yi": data["yi"], "vi": data["vi"]})
    return frame.assign(study=np.array(data["study"], dtype=int), effect=np.arange(100))


def assert_quantiles(reference, name, expected):
    found = reference.quantile(PROBABILITIES, [name])[name].to_numpy()
    assert np.abs((found.T - expected["quantiles"]).T / expected["sd"]).max() < 1e-5


def test_reference_of_correlated_effects():
    frame, known = assink(), FIGURES["assink2016"]
    roles = {"outcome": "yi", "groups": ["study", "effect"], "variance": "vi"}
    reference = hm.reference(frame, **roles, sampling_correlation=0.6)
    figures = {**known["hyper"], "lam": known["top"], "mu": known["mid"], "theta": known["bottom"]}
    for name, expected in figures.items():
        found = [reference.mean[name]], [reference.sd[name]]
        assert_moments(found, [[expected["mean"]], [expected["sd"]]])
    for name, expected in known["hyper"].items():
        assert_quantiles(reference, name, expected)


@pytest.mark.parametrize("form", ["array", "sparse", "frame", "mapping"])
def test_reference_of_several_outcomes(form):
    frame, v = berkey()
    given = {
        "array": lambda: v,
        "sparse": lambda: scipy.sparse.csr_array(v),
        "frame": lambda: pd.DataFrame(v),
        "mapping": lambda: {s + 1: v[2 * s : 2 * s + 2, 2 * s : 2 * s + 2] for s in range(5)},
    }[form]()
    formula = "yi ~ 0 + outcome + (0 + outcome | trial)"
    model = {"covariance": given, "priors": {"tau": hm.HalfNormal(0.5)}}
    if form != "array":
        spec, data = prepare(frame, formula, **model)
        assert spec.sampling == "matrix"
        np.testing.assert_array_equal(data.covariance.entries, berkey_entries(v))
        return
    reference, known = hm.reference(frame, formula, **model), FIGURES["berkey1998"]
    order = [1, 0]  # the outcomes in the order of their labels, AL first
    hyper = known["hyper"]
    taus = {m: [hyper[f"tau{i}"][m] for i in order] for m in ("mean", "sd")}
    beta = {m: np.array(known["coefficients"][m])[order] for m in ("mean", "sd")}
    theta = {m: np.array(known["effects"][m])[order].T for m in ("mean", "sd")}
    for name, expected in {"tau": taus, "rho": hyper["rho"], "beta": beta, "theta": theta}.items():
        found = [reference.mean[name]], [reference.sd[name]]
        assert_moments(found, [[expected["mean"]], [expected["sd"]]])
    assert_quantiles(reference, "rho", hyper["rho"])


def berkey_entries(v):
    """The numbers of the trials' blocks."""
    return np.concatenate([v[2 * s : 2 * s + 2, 2 * s : 2 * s + 2].ravel() for s in range(5)])
