"""Every public callable refuses wrong kinds of every argument in one family of errors."""

from __future__ import annotations

import os
import zlib

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from tests.hostile.hostile_calls import SLOW, calls

EVERY = int(os.environ.get("CALLS_EVERY", "6"))  # one attempt in so many, the same at each run
PARTS = 4


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    return calls(tmp_path_factory.mktemp("calls"))


@pytest.mark.parametrize("part", range(PARTS))
def test_no_error_of_another_family_leaves_a_public_callable(part, public, tmp_path, monkeypatch):
    """``CALLS_EVERY=1`` tries all of them."""
    monkeypatch.chdir(tmp_path)
    tried, leaks = 0, []
    for call in public[part::PARTS]:
        rarity = 1 if EVERY == 1 else EVERY * SLOW.get(call.name, 1)
        for what, arguments in call.attempts():
            if zlib.crc32(f"{call.name} {what}".encode()) % rarity:
                continue
            tried += 1
            if leak := call.leak(arguments):
                leaks.append(f"{call.name}, {what}: {leak}")
        plt.close("all")
    print(tried, "calls")
    assert not leaks


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hm.HalfNormal("5"), "HalfNormal: sd: expected a number; found '5'"),
        (lambda: hm.Normal(0, None), "Normal: sd: expected a number; found None"),
        (lambda: hm.HalfNormal(10**400), "expected a positive, finite number"),
    ],
)
def test_parameters_of_priors_are_numbers(make, message):
    with pytest.raises(hm.SpecError, match=message):
        make()


@pytest.fixture(scope="module")
def fit(schools):
    return hm.fit(schools, random_seed=1)


def test_a_legacy_generator_is_no_seed(schools):
    with pytest.raises(hm.SpecError, match="random_seed: expected a non-negative integer"):
        hm.fit(schools, random_seed=np.random.RandomState(1))


def test_wrong_kinds_name_the_argument(fit, tmp_path):
    with pytest.raises(hm.SpecError, match="alpha: expected a number between 0 and 1; found 'a'"):
        hm.compare(fit, fit, alpha="a")
    with pytest.raises(hm.SpecError, match="outcomes: expected True or False; found 'no'"):
        fit.predict(outcomes="no")
    with pytest.raises(hm.DataError, match="there is no school"):
        fit.rank().prob_greater("A", "nobody")
    with pytest.raises(hm.HierModelsError, match="File name too long"):
        fit.to_netcdf(tmp_path / ("x" * 300 + ".nc"))
    with pytest.raises(hm.SpecError, match="backend: expected one of 'matplotlib'"):
        fit.plot_shrinkage(backend="gnuplot")
    with pytest.raises(hm.SpecError, match="an option of the picture: expected one of"):
        fit.plot_shrinkage(colour="red")


def test_a_missing_file_is_of_both_families(tmp_path):
    with pytest.raises(FileNotFoundError):
        hm.load(tmp_path / "nothing.nc")
    with pytest.raises(hm.DataError, match="there is no file"):
        hm.load(tmp_path / "nothing.nc")


def test_columns_that_nobody_asks_for_may_have_any_names(schools):
    twice = pd.concat([schools, schools[["y"]].set_axis(["note"], axis=1)] * 1, axis=1)
    twice = pd.concat([twice, twice[["note"]]], axis=1)
    roles = {"outcome": "y", "groups": "school", "se": "sigma"}
    found = hm.reference(twice, **roles).mean["mu"]
    assert float(found) == float(hm.reference(schools, **roles).mean["mu"])
    both = pd.concat([schools, schools[["y"]]], axis=1)
    with pytest.raises(hm.DataError, match="'y'"):
        hm.reference(both, **roles)


@pytest.mark.parametrize("size", [1e-310, 1e-320])
def test_outcomes_that_are_hardly_numbers(size):
    rows = pd.DataFrame({"y": np.arange(1.0, 9.0) * size, "g": list("aabbccdd")})
    with pytest.raises(hm.HierModelsError):
        hm.reference(rows, outcome="y", groups="g")
