"""Calibration: right engines pass, wrong ones are caught and named, runs can be interrupted."""

from __future__ import annotations

import os
from dataclasses import replace

import arviz_plots as azp
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from arviz_base import from_dict
from scipy import stats

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact import sample as exact
from hiermodels.posterior.arviz_groups import with_log_likelihood
from hiermodels.posterior.engine import Request
from hiermodels.results import simulated_fits
from hiermodels.results.calibration_record import GROUPS

mpl.use("Agg")
PRIORS = {"mu": hm.Normal(0.0, 20.0), "tau": hm.HalfNormal(10.0)}
RIGHT = exact.prepare_refits


def calibrate(data, **options):
    return hm.calibrate(data, **{"priors": PRIORS, "simulations": 100, "random_seed": 1, **options})


def bits(calibration):
    return {name: calibration.datatree[name].to_dataset() for name in GROUPS}


def assert_equal(one, other):
    for name, dataset in bits(one).items():
        xr.testing.assert_equal(dataset, bits(other)[name])


def use(monkeypatch, change, right=RIGHT):
    """Let the exact engine make of each posterior, or of its data, something else."""

    def prepare_refits(spec, data, **options):
        return change(spec, right(spec, data, **options), options)

    monkeypatch.setattr(exact, "prepare_refits", prepare_refits)


@pytest.fixture(scope="module")
def right():
    """Posteriors of simulated data, which several tests look at or distort, by the data."""
    posteriors = {}

    def kept(spec, data, **options):
        refit = RIGHT(spec, data, **options)

        def refit_once(data, seed):
            key = data.y.tobytes()
            if key not in posteriors:
                posteriors[key] = refit(data, seed)
            return posteriors[key]

        return refit_once

    return kept


def moved(posterior, **functions):
    """Change some variables of the draws."""
    draws = posterior.datatree["posterior"].to_dataset()
    tree = posterior.datatree.copy()
    tree["posterior"] = draws.assign({n: f(draws[n]) for n, f in functions.items()})
    return replace(posterior, datatree=tree)


def test_the_exact_engine_passes(schools, monkeypatch, right):
    monkeypatch.setattr(exact, "prepare_refits", right)
    calibration = calibrate(schools, simulations=200)
    assert calibration.passed
    assert calibration.verdict.startswith("The posterior is calibrated, as far as 200 simulations")
    names = ["mu", "tau", *(f"theta[{label}]" for label in "ABCDEFGH"), "log_likelihood"]
    assert list(calibration.table.index) == names
    assert (calibration.table["posterior"] == "").all()
    assert repr(calibration).startswith(calibration.verdict)
    assert "<table" in calibration._repr_html_()


def test_wrong_standard_errors_are_found(schools, monkeypatch):
    use(
        monkeypatch,
        lambda spec, refit, options: (
            lambda data, seed: refit(replace(data, se=data.se / 1.5), seed)
        ),
    )
    calibration = calibrate(schools)
    assert not calibration.passed
    assert calibration.table["posterior"]["log_likelihood"].startswith("too high")
    assert "NOT calibrated: that of log_likelihood is too high" in calibration.verdict


def test_another_prior_is_found(schools, monkeypatch):
    other = {"mu": hm.Normal(0.0, 20.0), "tau": hm.HalfNormal(3.0)}

    def change(spec, refit, options):
        wrong = RIGHT(replace(spec, priors=other), None, **options)
        return lambda data, seed: wrong(data, seed)

    use(monkeypatch, change)
    calibration = calibrate(schools)
    assert "too low" in calibration.table["posterior"]["tau"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: x.mean() + 0.6 * (x - x.mean()), "too narrow"),
        (lambda x: x.mean() + 1.8 * (x - x.mean()), "too wide"),
        (lambda x: x + 0.7 * x.std(), "too high"),
        (lambda x: x - 0.7 * x.std(), "too low"),
    ],
)
def test_what_is_wrong_is_said(schools, monkeypatch, right, change, found):
    use(monkeypatch, lambda spec, refit, options: lambda d, s: moved(refit(d, s), mu=change), right)
    calibration = calibrate(schools)
    table = calibration.table
    assert table["posterior"]["mu"] == found
    assert (table.drop(index="mu")["posterior"] == "").all()
    assert f"that of mu is {found}" in calibration.verdict
    assert "1 of 11 quantities deviate in 100 simulations" in calibration.verdict


def test_draws_from_the_prior_are_found_by_the_log_likelihood(schools, monkeypatch, right):
    """Each parameter's rank is uniform; the data have not been looked at."""

    def change(spec, refit, options):
        def draw_from_prior(data, seed):
            rng = np.random.default_rng(seed)
            drawn = simulated_fits.draw_variables(spec, data, 1000, rng)
            shapes = {name: (4, 250, *values.shape[1:]) for name, values in drawn.items()}
            new = {name: values.reshape(shapes[name]) for name, values in drawn.items()}
            return moved(
                refit(data, seed), **{n: lambda x, v=v: x.copy(data=v) for n, v in new.items()}
            )

        return draw_from_prior

    use(monkeypatch, change, right)
    table = calibrate(schools).table
    assert (table.drop(index="log_likelihood")["posterior"] == "").all()
    assert "too low" in table["posterior"]["log_likelihood"]


def test_transform_is_uniform_for_any_number_of_draws_and_with_ties():
    rng = np.random.default_rng(1)
    for size in (1, 3, 40):
        sample = rng.integers(0, 3, (size + 1, 20_000)).astype(float)  # many are equal
        pits = simulated_fits.continuous_ranks(sample[0], sample[1:], rng)
        assert stats.kstest(pits, "uniform").pvalue > 1e-3


def test_transform_counts_the_draws_below():
    rng = np.random.default_rng(1)
    pit = simulated_fits.continuous_ranks(
        np.array([0.5, 9.0]), np.array([[0.0, 1], [1, 2], [2, 3]]), rng
    )
    assert 1 / 4 < pit[0] < 2 / 4
    assert pit[1] > 3 / 4


def test_log_likelihood_is_the_sum_over_rows(schools, monkeypatch):
    spec, data = prepare(schools, priors=PRIORS)
    posterior = exact.sample(spec, data, Request(draws=50, chains=2, random_seed=1))
    monkeypatch.setattr(simulated_fits, "BLOCK", 60)  # several blocks
    found = simulated_fits.sum_log_likelihood(spec, data, simulated_fits.scalar_draws(posterior))
    rows = with_log_likelihood(posterior).datatree["log_likelihood"]["y"]
    np.testing.assert_allclose(found, rows.sum("row").to_numpy().ravel(), rtol=1e-12)


def test_the_same_seed_gives_the_same_bits(schools):
    one = calibrate(schools, simulations=12)
    assert_equal(one, calibrate(schools, simulations=12))
    other = calibrate(schools, simulations=12, random_seed=2)
    assert not bits(one)["prior_sbc"].equals(bits(other)["prior_sbc"])


def test_the_outcome_of_the_data_does_not_matter(schools):
    one = calibrate(schools, simulations=10)
    assert_equal(one, calibrate(schools.assign(y=1e6), simulations=10))


def test_an_interrupted_run_goes_on_with_the_same_bits(schools, monkeypatch, tmp_path):
    whole = calibrate(schools, simulations=12)
    calls = iter(range(5))

    def change(spec, refit, options):
        def interrupted(data, seed):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return refit(data, seed)

        return interrupted

    path = tmp_path / "sbc.nc"
    use(monkeypatch, change)
    with pytest.raises(KeyboardInterrupt):
        calibrate(schools, simulations=12, path=path)
    assert [file.name for file in tmp_path.iterdir()] == ["sbc.nc"]
    with xr.open_datatree(path) as tree:
        assert tree["prior_sbc"].sizes["draw"] == 5
    monkeypatch.setattr(exact, "prepare_refits", RIGHT)
    assert_equal(calibrate(schools, simulations=12, path=path, random_seed=None), whole)


def test_a_run_can_be_extended_and_cut(schools, tmp_path):
    path = tmp_path / "sbc.nc"
    calibrate(schools, simulations=10, path=path)
    longer = calibrate(schools, simulations=14, path=str(path))
    assert_equal(longer, calibrate(schools, simulations=14))
    assert_equal(calibrate(schools, simulations=10, path=path), calibrate(schools, simulations=10))


def test_a_failed_write_leaves_the_file_as_it_was(schools, monkeypatch, tmp_path):
    path = tmp_path / "sbc.nc"
    calibrate(schools, simulations=10, path=path)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(hm.DataError, match=r"disk full\. What was there before is as it was"):
        calibrate(schools, simulations=11, path=path)
    assert [file.name for file in tmp_path.iterdir()] == ["sbc.nc"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"random_seed": 2}, "another random_seed: expected '2', found '1'"),
        ({"draws": 100}, "another options: expected 'chains=4, draws=100', found 'chains=4, dr"),
        ({"priors": PRIORS | {"tau": hm.HalfNormal(10.0 + 1e-9)}}, "another model"),
    ],
)
def test_the_file_of_another_calibration_is_refused(schools, tmp_path, change, message):
    path = tmp_path / "sbc.nc"
    calibrate(schools, simulations=10, path=path)
    with pytest.raises(hm.SpecError, match=message):
        calibrate(schools, simulations=10, path=path, **change)
    with pytest.raises(hm.SpecError, match="another rows"):
        calibrate(schools.assign(sigma=schools["sigma"] + 1e-9), simulations=10, path=path)


@pytest.mark.parametrize("column", ["cases", "shift"])
def test_the_file_of_other_trials_or_offsets_is_refused(tmp_path, column):
    rows = pd.DataFrame({"unit": list("abc"), "deaths": 1, "cases": 5, "shift": [0.0, 0.2, -0.1]})
    roles = {"outcome": "deaths", "trials": "cases", "groups": "unit", "offset": "shift"}
    options = {**roles, "path": tmp_path / "sbc.nc", "simulations": 10}
    options["priors"] = {"mu": hm.Normal(0, 1), "tau": hm.HalfNormal(1)}
    first = calibrate(rows, **options)
    assert_equal(calibrate(rows, **options), first)
    with pytest.raises(hm.SpecError, match="another rows"):
        calibrate(rows.assign(**{column: rows[column] + (rows["unit"] == "b")}), **options)


def test_other_files_and_folders_are_refused(schools, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(hm.SpecError, match=r"does not hold a calibration. Give another path"):
        calibrate(schools, path=path)
    schools.to_xarray().to_netcdf(tmp_path / "schools.nc", engine="h5netcdf")
    with pytest.raises(hm.SpecError, match="does not hold a calibration"):
        calibrate(schools, path=tmp_path / "schools.nc")
    assert path.read_text() == "mine"
    with pytest.raises(hm.DataError, match="there is no folder"):
        calibrate(schools, path=tmp_path / "no" / "sbc.nc")


def test_improper_priors_are_named(schools):
    with pytest.raises(hm.SpecError, match=r"calibration needs proper priors.* tau ~ FlatVariance"):
        calibrate(schools, priors={"mu": hm.Normal(0, 1)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"simulations": 5}, "simulations: expected an integer of at least 10; found 5"),
        ({"alpha": 1.0}, "alpha: expected a number between 0 and 1"),
        ({"engine": "gibbs"}, "engine: expected one of 'exact', 'importance', 'nuts'; found"),
        ({"tune": 5}, "engine 'exact' has no option 'tune'"),
    ],
)
def test_impossible_options_are_refused(schools, options, message):
    with pytest.raises(hm.SpecError, match=message):
        calibrate(schools, **options)


def test_a_fit_brings_its_model(schools):
    fit = hm.fit(schools, priors=PRIORS, draws=10)
    found = hm.calibrate(fit, simulations=10, random_seed=1)
    assert_equal(found, calibrate(schools, simulations=10))
    assert found.engine == "exact"
    with pytest.raises(hm.SpecError, match="a fit says what priors is; leave out priors"):
        hm.calibrate(fit, priors=PRIORS)


def many_groups(groups):
    rng = np.random.default_rng(1)
    rooms = np.repeat(np.arange(groups), 2)
    frame = {"room": rooms, "school": rooms // 4, "y": 0.0, "x": rng.normal(size=len(rooms))}
    return pd.DataFrame(frame)


def test_of_many_groups_some_are_ranked():
    priors = {"lam": hm.Normal(0, 1), "beta": hm.Normal(0, 1)}
    priors |= dict.fromkeys(["tau", "kappa", "sigma"], hm.HalfNormal(1.0))
    found = hm.calibrate(
        many_groups(120), "y ~ x + (1 | school/room)", priors=priors, simulations=10, random_seed=1
    )
    pits = found.datatree["prior_sbc"]
    assert pits["room"].to_numpy().tolist() == list(range(0, 120, 3))
    assert pits["theta"].shape == (1, 10, 40)
    assert pits["mu"].shape == (1, 10, 30)
    assert pits["log_likelihood"].dims == ("chain", "draw")
    plot = found.plot()
    assert {"lam", "mu", "theta", "log_likelihood"} <= set(plot.viz["plot"].data_vars)


def test_arviz_plots_the_datatree(schools):
    found = calibrate(schools, simulations=20)
    azp.plot_ecdf_pit(found.datatree)
    for backend in ("matplotlib", "plotly", "bokeh"):
        found.plot(backend=backend)


def test_a_simulation_that_fails_is_named(schools, monkeypatch):
    def change(spec, refit, options):
        def fail(data, seed):
            raise ZeroDivisionError

        return fail

    use(monkeypatch, change)
    with pytest.raises(ZeroDivisionError) as caught:
        calibrate(schools)
    assert caught.value.__notes__ == ["This was simulation 0 of a calibration with random_seed=1."]


def test_progress_is_shown_when_asked_for(schools, capsys):
    calibrate(schools, simulations=10, progressbar=True)
    assert "10/10" in capsys.readouterr().err
    calibrate(schools, simulations=10)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_nuts_is_calibrated_with_one_compilation(schools, monkeypatch):
    import nutpie

    compiled = []
    compile_model = nutpie.compile_pymc_model

    def counting(model, **options):
        compiled.append(model)
        return compile_model(model, **options)

    monkeypatch.setattr(nutpie, "compile_pymc_model", counting)
    options = {"engine": "nuts", "chains": 2, "tune": 200, "draws": 150, "simulations": 20}
    options["alpha"] = 1e-4  # whichever draws a platform makes
    found = calibrate(schools, **options)
    assert len(compiled) == 1
    assert found.passed, found
    assert found.engine == "nuts"
    stats = found.datatree["sample_stats"]
    assert set(stats.data_vars) == {"draws", "divergences", "r_hat"}
    assert int(stats["draws"].max()) <= 300
    assert int(stats["draws"].min()) < 300  # thinned
    again = calibrate(schools, **{**options, "simulations": 10})
    first = bits(found)["prior_sbc"].isel(draw=slice(10))
    xr.testing.assert_equal(bits(again)["prior_sbc"], first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nuts_sampler": "pymc"}, "nuts_sampler='pymc': models that are compiled once"),
        ({"init": "adapt_diag"}, "init: models that are compiled once .* leave it out"),
        ({"targt": 0.9}, "engine 'nuts' has no option 'targt'"),
    ],
)
def test_nuts_refuses_options_that_need_compiling_anew(schools, options, message):
    with pytest.raises(hm.SpecError, match=message):
        calibrate(schools, engine="nuts", **options)


def test_what_nuts_found_wrong_is_reported():
    size = 20
    stats_of = {
        "draws": np.full((1, size), 100),
        "divergences": np.append(np.zeros((1, size - 2)), [[3.0, 1.0]], axis=1),
        "r_hat": np.append(np.ones((1, size - 1)), [[1.2]], axis=1),
    }
    rng = np.random.default_rng(1)
    pits = {"mu": rng.random((1, size)), "tau": rng.random((1, size))}
    tree = from_dict({"prior_sbc": pits, "sample_stats": stats_of})
    found = hm.Calibration(None, "nuts", tree, 0.01)
    assert found.verdict.endswith(
        "Draws diverged in 2 of 20 simulations. R-hat was above 1.05 in 1 of 20 simulations."
    )
