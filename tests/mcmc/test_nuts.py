"""NUTS against the noise-free posterior, and what the engine says of its draws."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from dataclasses import fields, replace
from types import SimpleNamespace

import arviz_stats
import numpy as np
import nutpie
import pandas as pd
import pymc as pm
import pytensor
import pytest
import xarray as xr
from arviz_base import from_dict
from scipy import stats

import hiermodels as hm
from hiermodels.core.seeds import integer_seed
from hiermodels.data.prepare import prepare
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.mcmc import convergence
from hiermodels.mcmc import sample as nuts
from hiermodels.mcmc.parameterization import PARAMETERIZATIONS
from hiermodels.posterior.engine import Request
from tests import compilations

pytestmark = pytest.mark.filterwarnings("ignore::hiermodels.mcmc.convergence.ConvergenceWarning")

RARE = 1e-4  # how often a right sampler may fail a comparison, on a platform with other draws
FAR = 5  # Monte Carlo standard errors: a right sampler gets so far once in a million


def classrooms(seed=0):
    rng = np.random.default_rng(seed)
    rooms = np.repeat(np.arange(24), rng.integers(1, 7, 24))
    theta = 10 + np.repeat(rng.normal(0, 2, 8), 3) + rng.normal(0, 1, 24)
    ses = rng.normal(3, 1, len(rooms))
    return pd.DataFrame(
        {
            "school": [f"s{room // 3}" for room in rooms],
            "room": [f"r{room % 3}" for room in rooms],
            "score": theta[rooms] + 0.7 * ses + rng.normal(0, 1.5, len(rooms)),
            "ses": ses,
        }
    )


def sample(frame, formula=None, priors=None, **options):
    spec, data = prepare(frame, formula, priors=priors)
    asked = {own.name: options.pop(own.name) for own in fields(Request) if own.name in options}
    return nuts.sample(spec, data, Request(**{"random_seed": 1, **asked}), **options)


def assert_right(posterior, exact=None):
    """Means are within ``FAR`` Monte Carlo errors, and medians have half the probability below."""
    exact = exact or reference_posterior(posterior.spec, posterior.data)
    draws = posterior.datatree["posterior"].to_dataset()
    errors = arviz_stats.mcse(draws)
    medians = exact.quantile(0.5).isel(quantile=0)
    below = draws < medians
    spread = arviz_stats.mcse(below.astype(float))
    for name in posterior.spec.variables:
        away = (draws[name].mean(["chain", "draw"]) - exact.mean[name]) / errors[name]
        assert float(np.abs(away).max()) < FAR, name
        away = (below[name].mean(["chain", "draw"]) - 0.5) / spread[name]
        assert float(np.abs(away).max()) < FAR, name


def assert_agrees(posterior):
    fit = hm.Fit(posterior)
    assert_right(posterior, fit.reference())
    assert hm.compare(fit, fit.reference(), alpha=RARE).passed


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_eight_schools(schools, far_apart, mcmc, parameterization):
    frame = far_apart if parameterization == "centered" else schools
    if parameterization == "noncentered":  # the default, which is sampled already
        posterior = mcmc.posterior
    else:
        posterior = sample(frame, parameterization=parameterization)
    assert_agrees(posterior)
    assert posterior.datatree["posterior"].attrs["parameterization"] == parameterization
    assert list(posterior.datatree["posterior"].data_vars) == ["mu", "tau", "theta"]
    assert posterior.datatree["posterior"]["theta"].dims == ("chain", "draw", "school")


REFITTED = {
    "known errors, no group has several rows": (
        "marginal",
        "y ~ 1 + (1 | school)",
        {"mu": hm.Normal(0, 50), "tau": hm.HalfNormal(30)},
    ),
    "all else": (
        "noncentered",
        "score ~ ses + (1 | school)",
        {"mu": hm.Normal(0, 50), "beta": hm.Normal(0, 3)}
        | dict.fromkeys(["tau", "sigma"], hm.HalfNormal(10.0)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFITTED)
def test_a_model_that_is_compiled_once_fits_other_outcomes(schools, case):
    """With effects that are sampled, and with effects that are drawn afterwards.

    That the model of each parameterization has the density of another outcome is in
    ``test_models``.
    """
    parameterization, formula, priors = REFITTED[case]
    frame = schools if formula.startswith("y") else classrooms()
    spec, data = prepare(frame, formula, priors=priors)
    refit = nuts.prepare_refits(spec, data, draws=1000, chains=4, parameterization=parameterization)
    other = replace(data, y=3.0 + 2.0 * data.y)
    posterior = refit(other, 3)
    exact = reference_posterior(spec, other)
    draws = posterior.datatree["posterior"].to_dataset()
    size = draws.sizes["chain"] * draws.sizes["draw"]
    assert 100 < size < 4000
    for name in spec.variables:
        away = (draws[name].mean(["chain", "draw"]) - exact.mean[name]) / exact.sd[name]
        assert float(np.abs(away).max()) < FAR / np.sqrt(size), name
    assert hm.compare(hm.Fit(posterior), exact, alpha=RARE).passed


def test_each_level_as_suits_the_data():
    pastes = hm.datasets.load_pastes()
    fit = hm.fit(pastes, outcome="strength", groups=["batch", "cask"], engine="nuts", random_seed=1)
    assert_agrees(fit.posterior)
    draws = fit.datatree["posterior"]
    assert draws.attrs["parameterization"] == "theta centered, mu noncentered"
    assert list(draws.data_vars) == ["lam", "kappa", "mu", "tau", "theta", "sigma"]
    assert draws["mu"].dims == ("chain", "draw", "batch")


def test_rows_have_the_posterior_of_their_means():
    frame = classrooms().drop(columns="room")
    posterior = sample(frame, "score ~ ses + (1 | school)", observed="rows")
    assert_right(posterior)
    assert posterior.datatree["posterior"].attrs["observed"] == "rows"
    assert posterior.datatree["posterior"]["beta"].dims == ("chain", "draw", "coef")
    assert "x" not in posterior.datatree["constant_data"]


def test_a_model_of_rows_predicts_them():
    """PyMC's own draws of new rows, from draws of this engine's posterior."""
    frame = classrooms().drop(columns=["room", "ses"])
    roles = {"outcome": "score", "groups": "school"}
    model = hm.two_level(frame, observed="rows", parameterization="centered", **roles)
    fit = hm.fit(frame, draws=500, random_seed=1, **roles)
    with model:
        drawn = pm.sample_posterior_predictive(
            fit.datatree, progressbar=False, random_seed=1, compile_kwargs={"mode": "FAST_COMPILE"}
        )["posterior_predictive"]["score"]
    assert drawn.dims == ("chain", "draw", "row")
    exact = fit.reference()
    theta = exact.mean["theta"].to_numpy()[fit.data.group]
    spread = exact.sd["theta"].to_numpy()[fit.data.group]
    sigma2 = float(exact.mean["sigma"] ** 2 + exact.sd["sigma"] ** 2)
    error = np.sqrt((spread**2 + sigma2) / 2000)
    assert (np.abs(drawn.mean(["chain", "draw"]) - theta) < FAR * error).all()
    np.testing.assert_allclose(drawn.var(["chain", "draw"]), spread**2 + sigma2, rtol=0.25)


def test_one_population():
    frame = pd.DataFrame({"y": [3.0, 5.5, 4.1, 8.2, 2.2]})
    prior = hm.NormalInverseGamma(m=3.0, s=2.0, alpha=3.0, beta=4.0)
    spec, data = prepare(frame, outcome="y", groups=(), priors={"theta": prior})
    assert_agrees(nuts.sample(spec, data, Request(random_seed=1)))


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_the_unit_of_the_outcome_does_not_matter(schools, factor):
    frame = schools.assign(y=factor * schools["y"], sigma=factor * schools["sigma"])
    assert_right(sample(frame))


def test_pymc_s_own_sampler(schools):
    posterior = sample(schools, nuts_sampler="pymc", parameterization="marginal", max_treedepth=8)
    assert_right(posterior)
    assert posterior.certificate["sampler"] == "pymc, 4 chains x 1000 draws (tune 1000)"
    assert posterior.certificate["parameterization"] == "marginal (as asked for)"
    assert "diverging" in posterior.datatree["sample_stats"]
    assert_lp_is_that_of_the_stored_variables(posterior, schools)


def assert_lp_is_that_of_the_stored_variables(posterior, schools):
    draws = posterior.datatree["posterior"].to_dataset()
    mu, tau, theta = (draws[name].to_numpy() for name in ("mu", "tau", "theta"))
    expected = stats.norm(theta, schools["sigma"]).logpdf(schools["y"]).sum(-1)
    expected += stats.norm(mu[..., None], tau[..., None]).logpdf(theta).sum(-1)
    expected += np.log(2 * tau)  # flat on τ²
    np.testing.assert_allclose(posterior.datatree["sample_stats"]["lp"], expected, rtol=1e-10)


def test_the_same_seed_gives_the_same_bits(schools):
    """Those of the sampler, and those of theta, which are drawn afterwards."""

    def draw(seed, **options):
        options |= {"draws": 50, "tune": 100, "parameterization": "marginal"}
        return sample(schools, random_seed=seed, **options).datatree["posterior"].to_dataset()

    first = draw(7)
    with compilations.anew():
        xr.testing.assert_equal(first, draw(np.int64(7), cores=1))
    assert not first.equals(draw(8))


@pytest.mark.slow
def test_the_bits_do_not_depend_on_code_that_was_compiled_before(tmp_path):
    """Two processes: one compiles all, the other finds most of it on disk."""
    code = (
        "import sys, hiermodels as hm; fit = hm.fit(hm.datasets.load_eight_schools(), draws=20, "
        "engine='nuts', tune=30, chains=1, random_seed=1, progressbar=False); "
        "print(fit.datatree['posterior']['theta'].values.tobytes().hex(), file=sys.stderr)"
    )
    flags = {"PYTENSOR_FLAGS": f"base_compiledir={tmp_path}", "NUMBA_OPT": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    cold, warm = (
        subprocess.run(command, env=os.environ | flags, capture_output=True, check=True).stderr
        for _ in range(2)
    )
    assert cold == warm


def test_sums_are_compiled_in_the_order_of_the_model(schools, monkeypatch):
    def stop(*_, **options):
        raise InterruptedError(pytensor.config.numba__fastmath)

    monkeypatch.setattr(pm, "sample", stop)
    monkeypatch.setattr(nutpie, "compile_pymc_model", stop)
    spec, data = prepare(schools, priors={"mu": hm.Normal(0, 10), "tau": hm.HalfNormal(5)})
    request = {"draws": 10, "chains": 1}
    with pytest.raises(InterruptedError, match="False"):
        nuts.sample(spec, data, Request(**request))
    with pytest.raises(InterruptedError, match="False"):
        nuts.prepare_refits(spec, data, **request)
    assert pytensor.config.numba__fastmath


def test_seeds_of_all_kinds_become_integers():
    assert integer_seed(7) == 7
    for make in (np.random.SeedSequence, np.random.default_rng):
        assert integer_seed(make(3)) == integer_seed(make(3))
        assert integer_seed(make(3)) != integer_seed(make(4))
    assert integer_seed(None) != integer_seed(None)
    rng = np.random.default_rng(3)
    assert integer_seed(rng) != integer_seed(rng)


@pytest.mark.parametrize("seed", [-1, 1.5, "one"])
def test_other_seeds_are_refused(schools, seed):
    with pytest.raises(hm.SpecError, match="random_seed: expected a non-negative integer"):
        sample(schools, random_seed=seed)


def test_a_good_run_is_silent_and_certified(schools, capsys, caplog):
    caplog.set_level(logging.DEBUG, logger="pymc")
    level = logging.getLogger("pymc").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        posterior = sample(schools, draws=2000)  # enough that r_hat is near 1 for any seed
    assert capsys.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("pymc")]
    assert logging.getLogger("pymc").level == level
    lines = ["sampler", "parameterization", "divergences", "r_hat", "ess"]
    assert list(posterior.certificate) == lines
    assert posterior.certificate["sampler"] == "nutpie, 4 chains x 2000 draws (tune 1000)"
    assert posterior.certificate["parameterization"] == (
        "noncentered (the data's weight in the median school's theta is 0.44, less than ½)"
    )
    assert posterior.certificate["r_hat"].startswith("at most 1.00")
    assert posterior.engine == "nuts"


@pytest.fixture
def shown(monkeypatch, schools):
    """Whether the sampler is told to show progress, and whether it may write messages."""

    class Told(Exception):
        pass

    def stop(*arguments, progressbar, quiet, **options):
        assert quiet is not progressbar
        raise Told(progressbar)

    monkeypatch.setattr(pm, "sample", stop)

    def ask(**options):
        with pytest.raises(Told) as told:
            sample(schools, **options)
        return told.value.args[0]

    return ask


def test_progress_is_shown_where_somebody_is_looking(shown, monkeypatch):
    assert shown(progressbar=True) is True
    assert shown() is False  # the output of tests is captured
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert shown() is True
    assert shown(progressbar=False) is False
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)  # written into a file
    assert shown() is False
    shell = SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert shown() is False  # IPython without a notebook
    shell.kernel = object()
    for installed in (True, False):
        missing = () if installed else ("ipywidgets",)
        monkeypatch.setattr(nuts, "find_spec", lambda name, m=missing: None if name in m else name)
        assert shown() is installed


@pytest.fixture(scope="module")
def diverging(schools):
    """A fit that goes wrong for every seed (at least 7 divergences and at most 62 draws' worth
    for 20 of them), and the warnings with which it came."""
    options = {"parameterization": "centered", "target_accept": 0.5, "tune": 500, "draws": 300}
    with pytest.warns(convergence.ConvergenceWarning) as caught:
        fit = hm.fit(schools, priors={"tau": hm.FlatSD()}, engine="nuts", random_seed=1, **options)
    return fit, caught


def test_divergences_are_in_the_repr_of_a_fit(diverging):
    fit, _ = diverging
    count = int(fit.datatree["sample_stats"]["diverging"].sum())
    assert count > 0
    assert f"divergences: {count}\n" in repr(fit)


def test_draws_survive_netcdf(schools, mcmc, tmp_path):
    posterior = mcmc.posterior
    tree = posterior.datatree
    tree.to_netcdf(tmp_path / "draws.nc")
    with xr.open_datatree(tmp_path / "draws.nc") as back:
        xr.testing.assert_equal(back["posterior"].to_dataset(), tree["posterior"].to_dataset())
        found = back["sample_stats"].to_dataset()
        assert {"lp", "tree_depth", "reached_max_treedepth", "acceptance_rate"} <= set(found)
        assert found["diverging"].dtype == bool
        assert_lp_is_that_of_the_stored_variables(posterior, schools)
        attrs = back["posterior"].attrs
        assert (attrs["inference_library"], attrs["engine"]) == ("nutpie", "nuts")
        assert 0 < attrs["sampling_time"] == back["sample_stats"].attrs["sampling_time"]
        assert attrs["parameterization"] == "noncentered"
        assert attrs["parameterization_reason"].endswith("less than ½")
        assert attrs["observed"] == "means"


def test_bad_chains_are_reported_with_remedies(diverging):
    fit, caught = diverging
    message = str(caught[0].message)
    for part in (
        f"{fit.posterior.certificate['divergences']} divergences after tuning",
        "smallest effective sample size is",
        "should be at least 400 (100 per chain)",
        "raise target_accept",
        "parameterization='marginal'",
        "engine='exact'",
    ):
        assert part in message
    assert caught[0].filename == __file__


def tree_of(draws, **stats):
    chains, n = draws.shape
    stats = {"diverging": np.zeros((chains, n), dtype=bool), **stats}
    return from_dict({"posterior": {"mu": draws}, "sample_stats": stats})


def test_convergence_tells_good_chains_from_bad():
    noise = np.random.default_rng(0).normal(size=(4, 500))
    good = convergence.Convergence.of(tree_of(noise))
    assert good.problems() == []
    assert good.ess_bulk > 1500
    apart = convergence.Convergence.of(tree_of(noise + np.array([[0.0], [0.0], [0.0], [1.0]])))
    assert "r_hat is up to 1.09" in apart.problems()[0]
    slow = convergence.Convergence.of(tree_of(noise.cumsum(axis=1)))
    assert "effective sample size" in slow.problems()[-1]
    deep = np.zeros((4, 500), dtype=bool)
    deep[1, :100] = True
    cut = convergence.Convergence.of(tree_of(noise, reached_max_treedepth=deep))
    assert cut.problems() == ["20% of a chain's trees reached the maximal depth"]


def test_a_single_chain_cannot_be_checked():
    noise = np.random.default_rng(0).normal(size=(1, 500))
    found = convergence.Convergence.of(tree_of(noise))
    assert any("r_hat cannot be computed" in problem for problem in found.problems())
    assert found.describe()["r_hat"].startswith("unknown: it needs several chains")


def test_convergence_looks_at_some_groups_of_very_many():
    draws = np.random.default_rng(0).normal(size=(4, 50, 2 * convergence.MAX_MEMBERS + 1))
    stats = {"diverging": np.zeros((4, 50), dtype=bool)}
    tree = from_dict({"posterior": {"theta": draws}, "sample_stats": stats}, dims={"theta": ["g"]})
    assert convergence.Convergence.of(tree).describe()["r_hat"].endswith(", one g in 3 looked at")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targt_accept": 0.9}, r"no option 'targt_accept'; it takes parameterization, .*tune,"),
        ({"return_inferencedata": False}, "no option 'return_inferencedata'"),
        ({"nuts_sampler": "stan"}, r"expected one of 'nutpie', .*; found 'stan'"),
        ({"target_accept": 1.0}, "target_accept: expected a number between 0 and 1; found 1.0"),
        ({"nuts": {"target_accept": 2}}, "target_accept: .* found 2"),
        ({"tune": -1}, "tune: expected an integer of at least 0; found -1"),
        ({"cores": 0}, "cores: expected an integer of at least 1; found 0"),
        ({"parameterization": "partial"}, "parameterization: expected one of"),
    ],
)
def test_unknown_or_impossible_options_are_refused(schools, options, message):
    with pytest.raises(hm.SpecError, match=message):
        sample(schools, **options)


def test_a_sampler_that_is_not_installed_is_named(schools, monkeypatch):
    monkeypatch.setattr("hiermodels.mcmc.options.find_spec", lambda name: None)
    with pytest.raises(hm.SpecError, match="'numpyro' is not installed; pip install numpyro"):
        sample(schools, nuts_sampler="numpyro")


@pytest.mark.parametrize("progressbar", [True, False])
def test_groups_may_be_called_sample(schools, progressbar):
    """ArviZ has a use of its own for the name, and warned of it; options are passed on."""
    data = schools.rename(columns={"school": "sample"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", hm.ConvergenceWarning)
        fit = hm.fit(
            data,
            priors={"tau": hm.HalfNormal(10)},
            engine="nuts",
            parameterization="marginal",
            draws=300,
            random_seed=1,
            cores=1,
            progressbar=progressbar,
        )
    assert fit.datatree["posterior"]["theta"].dims == ("chain", "draw", "sample")
    assert fit.engine == "nuts"
    assert "4 chains x 300 draws" in repr(fit)
    assert "parameterization: marginal (as asked for)" in repr(fit)
    assert hm.compare(fit, fit.reference(), alpha=RARE).passed
