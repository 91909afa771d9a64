"""Replicates of crossed groups: what is drawn anew, and statistics by column."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.exact.replicates import replicated_means, with_replicates
from tests.results.test_predict_crossed import FORMULA, SDS, rows


@pytest.fixture(scope="module")
def known_sds():
    priors = {name: hm.Fixed(value) for name, value in SDS.items()}
    return hm.fit(rows(), FORMULA, priors=priors, random_seed=1, draws=2000)


def test_statistics_of_each_column(known_sds):
    table, frame = known_sds.check(random_seed=1), rows()
    assert table.index.tolist() == [
        f"{which} {column} mean{plural}"
        for column in ("a", "c", "b")
        for which, plural in (("largest", ""), ("smallest", ""), ("sd of", "s"))
    ] + ["sd of rows within cells"]
    of_b = frame.groupby("b")["y"].mean()
    assert table.loc["largest b mean", "observed"] == pytest.approx(of_b.max())
    assert table.loc["sd of b means", "observed"] == pytest.approx(of_b.std())
    cells = frame.groupby(["a", "c", "b"])["y"]
    squares = ((frame["y"] - cells.transform("mean")) ** 2).sum()
    df = len(frame) - cells.ngroups
    assert table.loc["sd of rows within cells", "observed"] == pytest.approx(np.sqrt(squares / df))


@pytest.mark.parametrize(
    ("replicate", "anew", "words"),
    [
        ("groups", ["a", "c", "b"], "new a and c and b"),
        ("a", ["a", "c"], "new a and c"),  # c lies in a
        ("b", ["b"], "new b"),
        ("rows", [], "the same groups, new rows"),
    ],
)
def test_what_is_drawn_anew(known_sds, replicate, anew, words):
    """Its variance around what is kept: ``Σ tau²`` of the columns, and sigma²."""
    notes = known_sds.check(replicate=replicate, random_seed=1).attrs["notes"]
    assert any(words in note for note in notes)
    drawn = with_replicates(known_sds.posterior, replicate, random_seed=2).datatree
    y = drawn["posterior_predictive"]["y"].to_numpy().reshape(-1, 50)
    draws = known_sds.datatree["posterior"].to_dataset()
    mean = draws["mu"].to_numpy().reshape(-1, 1)
    mean = mean + draws["beta"].to_numpy().reshape(-1, 1) * rows()["x"].to_numpy()
    for level, member in zip(known_sds.spec.levels, known_sds.data.memberships, strict=True):
        if level.column not in anew:
            mean = mean + draws[level.effect].to_numpy().reshape(8000, -1)[:, member]
    expected = SDS["sigma"] ** 2 + sum(SDS[f"tau_{column}"] ** 2 for column in anew)
    assert np.square(y - mean).mean() == pytest.approx(expected, rel=0.03)


def test_means_of_the_column_that_is_drawn_anew(known_sds):
    observed, drawn = replicated_means(known_sds.posterior, replicate="a", random_seed=1)
    assert drawn.dims == ("chain", "draw", "a")
    means = rows().groupby("a")["y"].mean()
    np.testing.assert_allclose(observed, means.loc[observed["a"].to_numpy()], rtol=1e-12)
    assert replicated_means(known_sds.posterior, random_seed=1)[0].dims == ("b",)


def test_another_column(known_sds):
    with pytest.raises(hm.SpecError, match=r"replicate: expected .*found 'z'"):
        known_sds.check(replicate="z")
