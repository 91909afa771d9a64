"""A fit's DataTree as a Zarr store, and back."""

from __future__ import annotations

import errno
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import hiermodels as hm
from hiermodels.io import zarr as zarr_store

pytestmark = pytest.mark.filterwarnings("error::UserWarning:zarr|xarray")


def classes(**options):
    pupils = hm.datasets.simulate_classrooms(9, (2, 4), (3, 9), beta=0.4, random_seed=1)
    options = {"draws": 10, "random_seed": 1} | options
    return hm.fit(pupils, "score ~ ses + (1 | school/classroom)", **options)


def statistics(**options):
    data = hm.SufficientStatistics.of(
        hm.datasets.load_pastes(), outcome="strength", groups=["batch", "cask"]
    )
    return hm.fit(data, draws=10, random_seed=1, **options)


FITS = {
    "kept": classes,
    "on demand": lambda: classes(memory_budget=0),
    "statistics": lambda: statistics(memory_budget=0),
    "all groups": lambda: classes(log_likelihood=True, posterior_predictive=True),
    "one population": lambda: hm.fit(
        hm.datasets.load_dyestuff(), groups=[], draws=10, random_seed=1
    ),
}


@pytest.fixture(scope="module", params=FITS.values(), ids=FITS)
def fit(request):
    return request.param()


def opened(path) -> xr.DataTree:
    with xr.open_datatree(path, engine="zarr") as tree:
        return tree.load()


def test_the_store_holds_all_bit_for_bit(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_store, "CHUNK", 1)
    found = opened(fit.to_zarr(tmp_path / "fit.zarr"))
    expected = fit.datatree.copy()
    if fit.spec.groups:
        draws = expected["posterior"].to_dataset()
        expected["posterior"] = xr.DataTree(draws.assign(theta=fit.draws().reset_coords(drop=True)))
        assert (
            found["posterior"]["theta"].to_numpy().tobytes()
            == np.ascontiguousarray(fit.draws().to_numpy()).tobytes()
        )
    assert set(found.groups) == set(expected.groups)
    for name in expected.children:
        xr.testing.assert_identical(found[name].to_dataset(), expected[name].to_dataset())
        for key, variable in expected[name].variables.items():
            assert found[name].variables[key].dtype == variable.dtype


def test_groups_are_read_without_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_store, "CHUNK", 1)
    fit = classes(memory_budget=0)
    path = fit.to_zarr(tmp_path / "fit.zarr")
    chunks = sorted((path / "posterior" / "theta").glob("[0-9]*"))
    assert [chunk.name for chunk in chunks] == ["0.0.0", "0.0.1"]  # of 16 groups each
    label = fit.data.labels[-1][0]
    chunks[1].write_bytes(b"damaged")
    with xr.open_datatree(path, engine="zarr") as tree:
        theta = tree["posterior"]["theta"]
        one = theta.sel(classroom=[label]).load().reset_coords(drop=True)
        assert one.equals(fit.draws([label]).reset_coords(drop=True))
        with pytest.raises(ValueError, match=r"reshape|buffer|size"):
            theta.isel(classroom=20).load()


def test_arviz_reads_it(tmp_path):
    import arviz_stats

    fit = hm.fit(hm.datasets.load_eight_schools(), draws=50, random_seed=1)
    with xr.open_datatree(fit.to_zarr(tmp_path / "x.zarr"), engine="zarr") as tree:
        found = arviz_stats.summary(tree, var_names=["theta", "tau"], round_to="none")
    expected = arviz_stats.summary(fit.datatree, var_names=["theta", "tau"], round_to="none")
    pd.testing.assert_frame_equal(found, expected)


LABELS = {
    "integers": np.array([30, 10, 20, 0], dtype=np.int64),
    "text": np.array(["a/b", "ü", "../x", "c d"]),
    "categories": pd.Categorical(["w", "x", "y", "z"]),
    "dates": pd.to_datetime(["2020-01-01", "2021-06-01", "2022-01-01", "2023-01-01"]),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("budget", [0, 1e9])
def test_labels_of_every_kind(labels, budget, tmp_path):
    rng = np.random.default_rng(1)
    data = pd.concat([pd.DataFrame({"the group": labels})] * 3, ignore_index=True)
    data["y"] = rng.normal(size=12)
    fit = hm.fit(data, groups="the group", draws=9, random_seed=1, memory_budget=budget)
    theta = opened(fit.to_zarr(tmp_path / "x.zarr"))["posterior"]["theta"]
    assert theta.equals(fit.draws())
    assert theta["the group"].dtype == fit.draws()["the group"].dtype


def test_a_draw_of_exactly_zero_is_not_missing(tmp_path):
    fit = classes()
    draws = fit.datatree["posterior"].to_dataset()
    zero = draws.assign(theta=draws["theta"] * 0.0, tau=draws["tau"] * 0.0)
    tree = fit.datatree.copy()
    tree["posterior"] = xr.DataTree(zero)
    odd = hm.Fit(replace(fit.posterior, datatree=tree))
    found = opened(odd.to_zarr(tmp_path / "x.zarr"))["posterior"]
    assert (found["theta"] == 0).all()
    assert (found["tau"] == 0).all()


ERRORS = [
    (OSError(errno.ENOSPC, "No space left on device"), hm.DataError),
    (KeyboardInterrupt(), KeyboardInterrupt),
]


@pytest.mark.parametrize(("error", "raised"), ERRORS)
@pytest.mark.parametrize("before", [True, False])
def test_an_error_half_way_leaves_what_was_there(error, raised, before, tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_store, "CHUNK", 1)
    fit, path = classes(memory_budget=0), tmp_path / "x.zarr"
    if before:
        classes(random_seed=2).to_zarr(path)
        expected = opened(path)
    draw = fit.posterior.draw_groups

    def fail(groups):
        if groups[0] > 0:
            raise error
        return draw(groups)

    odd = hm.Fit(replace(fit.posterior, draw_groups=fail))
    with pytest.raises(raised):
        odd.to_zarr(path)
    assert [item.name for item in tmp_path.iterdir()] == (["x.zarr"] if before else [])
    if before:
        assert opened(path).identical(expected)


def test_a_killed_process_leaves_what_was_there(tmp_path):
    path = classes(random_seed=2).to_zarr(tmp_path / "x.zarr")
    expected = opened(path)
    code = """
import os, sys
from dataclasses import replace
import hiermodels as hm
pupils = hm.datasets.simulate_classrooms(9, 3, 5, random_seed=1)
fit = hm.fit(pupils, "score ~ 1 + (1 | school/classroom)", draws=10, memory_budget=0)
odd = hm.Fit(replace(fit.posterior, draw_groups=lambda groups: os._exit(9)))
odd.to_zarr(sys.argv[1])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(path)], check=False)
    assert done.returncode == 9
    assert opened(path).identical(expected)


def test_only_what_was_written_here_is_replaced(tmp_path):
    fit = classes(memory_budget=0)
    file, folder, foreign = tmp_path / "file", tmp_path / "folder", tmp_path / "foreign.zarr"
    file.write_text("before")
    folder.mkdir()
    (folder / "thesis.txt").write_text("before")
    xr.Dataset({"x": 1.0}).to_zarr(foreign, zarr_format=2)
    for path in (file, folder, foreign):
        with pytest.raises(hm.DataError, match=r"it is a file|holds something else"):
            fit.to_zarr(path)
    assert file.read_text() == (folder / "thesis.txt").read_text() == "before"
    assert zarr.open_group(foreign, mode="r")["x"][()] == 1.0
    with pytest.raises(hm.DataError, match="there is no folder"):
        fit.to_zarr(tmp_path / "no" / "x.zarr")
    empty, link = tmp_path / "empty", tmp_path / "link"
    empty.mkdir()
    link.symlink_to(empty)
    fit.to_zarr(link)
    fit.to_zarr(link)
    assert link.is_symlink()
    found = opened(empty)["posterior"]["theta"].reset_coords(drop=True)
    assert found.equals(fit.draws().reset_coords(drop=True))


@pytest.mark.parametrize("name", ["..", ".", ".zarray", "a\\b"])
def test_names_do_not_lead_out_of_the_folder(name, tmp_path):
    data = pd.DataFrame({name: list("abcd") * 3, "y": np.random.default_rng(1).normal(size=12)})
    fit = hm.fit(data, groups=name, outcome="y", draws=9, random_seed=1, memory_budget=0)
    with pytest.raises(hm.SpecError, match="cannot be the name of a folder in a Zarr store"):
        fit.to_zarr(tmp_path / "x.zarr")
    assert not list(tmp_path.iterdir())


def test_zarr_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(hm.DataError, match=r"pip install 'hiermodels\[zarr\]'"):
        classes().to_zarr(tmp_path / "x.zarr")


def test_a_fit_does_not_import_zarr():
    code = (
        "import sys, hiermodels as hm; hm.fit(hm.datasets.load_eight_schools(), draws=9);"
        "print([m for m in ('zarr', 'pyarrow.parquet', 'pymc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
