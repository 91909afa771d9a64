"""The noise-free summary of a level as a Parquet file."""

from __future__ import annotations

import errno
import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import hiermodels as hm

SCHOOLS = {"outcome": "y", "groups": "school", "se": "sigma", "random_seed": 1, "draws": 10}
NESTED = {"groups": ["batch", "cask"], "outcome": "strength", "random_seed": 1, "draws": 10}
CLASSES = "score ~ ses + (1 | school/classroom)"


def classes(**options):
    pupils = hm.datasets.simulate_classrooms(7, (2, 4), (3, 9), beta=0.4, random_seed=1)
    return hm.fit(pupils, CLASSES, draws=10, random_seed=1, **options)


FITS = {
    "known standard errors": lambda: hm.fit(hm.datasets.load_eight_schools(), **SCHOOLS),
    "three levels": lambda: hm.fit(hm.datasets.load_pastes(), **NESTED),
    "covariate": classes,
    "on demand": lambda: classes(memory_budget=2000),
}


@pytest.fixture(scope="module", params=FITS.values(), ids=FITS)
def fit(request):
    return request.param()


@pytest.mark.parametrize("size", [3, 1000])
def test_the_file_is_the_summary_whatever_its_parts(fit, size, tmp_path):
    for level in fit.spec.locations[:-1]:
        path = fit.to_parquet(tmp_path / "x.parquet", level, ci_prob=0.5, row_group_size=size)
        table = pd.read_parquet(path)
        expected = fit.reference().summary(level, ci_prob=0.5)
        columns = list(expected.columns)
        np.testing.assert_allclose(table[columns], expected, rtol=1e-12, atol=1e-13)
        assert pq.read_metadata(path).num_row_groups == -(-len(table) // size)
        assert list(table.columns)[-7:] == ["n", "raw_mean", *columns]


def test_rows_and_raw_means_are_those_of_the_data(tmp_path):
    pastes = hm.datasets.load_pastes()
    fit = hm.fit(pastes, **NESTED)
    for level, groups in (("cask", ["batch", "cask"]), ("batch", ["batch"])):
        table = pd.read_parquet(fit.to_parquet(tmp_path / "x.parquet", level))
        expected = pastes.groupby(groups, observed=True)["strength"].agg(["size", "mean"])
        expected = expected.reset_index()
        for name in groups:
            assert table[name].tolist() == expected[name].astype(str).tolist()
        assert table["n"].tolist() == expected["size"].tolist()
        np.testing.assert_allclose(table["raw_mean"], expected["mean"], rtol=1e-14)


def test_raw_means_are_weighted_by_known_standard_errors(tmp_path):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"g": np.repeat([5, 3, 9, 4], 3), "se": rng.uniform(1, 4, 12)})
    data["y"] = rng.normal(size=12)
    fit = hm.fit(data, groups="g", se="se", draws=10, random_seed=1)
    table = pd.read_parquet(fit.to_parquet(tmp_path / "x.parquet"))
    w = data.se**-2
    expected = (w * data.y).groupby(data.g, sort=False).sum() / w.groupby(data.g, sort=False).sum()
    np.testing.assert_allclose(table["raw_mean"], expected, rtol=1e-14)
    assert table["g"].tolist() == [5, 3, 9, 4]


LABELS = {
    "integers": np.array([30, 10, 20, -5], dtype=np.int32),
    "text": np.array(["a/b", "ü", "e", "c d"]),
    "categories": pd.Categorical(["w", "x", "y", "z"]),
    "dates": pd.to_datetime(["2020-01-01", "2021-06-01", "2022-01-01", "2023-01-01"]),
    "truth values and more": np.array(["True", "None", "nan", "0"]),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_every_kind(labels, tmp_path):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"mean": labels, "y": rng.normal(size=4), "se": 1.0})
    data = pd.concat([data] * 3, ignore_index=True).assign(y=rng.normal(size=12))
    fit = hm.fit(data, groups="mean", outcome="y", draws=10, random_seed=1)
    table = pd.read_parquet(fit.to_parquet(tmp_path / "x.parquet", row_group_size=3))
    assert table["mean"].tolist() == fit.data.labels[0].tolist()
    kind = "i" if np.asarray(labels).dtype.kind == "i" else "U"
    assert np.array(table["mean"].tolist()).dtype.kind == kind
    expected = fit.reference().mean["theta"]
    np.testing.assert_allclose(table["mean_"], expected, rtol=1e-13)


def test_labels_that_repeat_under_several_parents(tmp_path):
    data = pd.DataFrame(
        {
            "s": np.repeat(["p/q", "r"], 6),
            "c": np.tile(np.repeat([1, 2, 3], 2), 2),
            "y": np.random.default_rng(2).normal(size=12),
        }
    )
    fit = hm.fit(
        data, groups=["s", "c"], priors={"kappa": hm.HalfNormal(1)}, draws=9, random_seed=1
    )
    table = pd.read_parquet(fit.to_parquet(tmp_path / "x.parquet"))
    assert table[["s", "c"]].to_numpy().tolist() == [
        ["p/q", 1], ["p/q", 2], ["p/q", 3], ["r", 1], ["r", 2], ["r", 3]
    ]  # fmt: skip


def test_moments_that_do_not_exist_are_nan(tmp_path):
    """Four classes of two schools, flat on τ²: the schools' means have no variance."""
    y = np.random.default_rng(2).normal(size=8)
    data = pd.DataFrame({"s": np.repeat(["p", "r"], 4), "c": np.repeat(["a", "b", "c", "d"], 2)})
    priors = {"kappa": hm.HalfNormal(1), "lam": hm.Normal(0, 1)}
    fit = hm.fit(data.assign(y=y), groups=["s", "c"], priors=priors, draws=9, random_seed=1)
    path = fit.to_parquet(tmp_path / "x.parquet", "s")
    table, expected = pd.read_parquet(path), fit.reference().summary("mu")
    assert expected["sd"].isna().all()
    assert table.isna().sum().tolist()[-5:] == expected.isna().sum().tolist()
    notes = json.loads(pq.read_metadata(path).metadata[b"hiermodels"])["notes"]
    assert any("does not exist" in note for note in notes)


def test_the_file_says_what_it_is(tmp_path):
    fit = classes()
    path = fit.to_parquet(tmp_path / "x.parquet", "school")
    record = json.loads(pq.read_metadata(path).metadata[b"hiermodels"])
    assert record["model"] == fit.spec.describe()
    assert record["priors"] == fit.spec.describe_priors()
    assert record["hiermodels_version"] == hm.__version__
    assert record["certificate"] == fit.reference().certificate
    assert (record["level"], record["variable"], record["ci_prob"]) == ("school", "mu", 0.89)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), hm.DataError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
)
def test_an_error_half_way_leaves_what_was_there(error, raised, tmp_path, monkeypatch):
    fit = classes()
    path = tmp_path / "x.parquet"
    path.write_text("before")
    write, calls = pq.ParquetWriter.write_table, []

    def fail(self, table, *args, **kwargs):
        calls.append(table)
        if len(calls) == 2:
            raise error
        return write(self, table, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(raised):
        fit.to_parquet(path, row_group_size=5)
    assert len(calls) == 2
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]


def test_refusals(tmp_path, monkeypatch):
    fit = classes()
    path = tmp_path / "x.parquet"
    with pytest.raises(hm.SpecError, match="level: expected 'theta' or 'classroom'"):
        fit.to_parquet(path, "pupil")
    with pytest.raises(hm.SpecError, match="row_group_size: expected a positive integer; found 0"):
        fit.to_parquet(path, row_group_size=0)
    with pytest.raises(hm.SpecError, match="ci_prob: expected a probability"):
        fit.to_parquet(path, ci_prob=89)
    with pytest.raises(hm.DataError, match="there is no folder"):
        fit.to_parquet(tmp_path / "no" / "x.parquet")
    with pytest.raises(hm.SpecError, match="this model has none"):
        hm.fit(hm.datasets.load_dyestuff(), groups=[], draws=9).to_parquet(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(hm.DataError, match=r"pip install 'hiermodels\[parquet\]'"):
        fit.to_parquet(path)
    assert not path.exists()
