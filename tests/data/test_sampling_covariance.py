"""Known covariances that users give: what is read, what is refused, and what messages say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import hiermodels as hm
from hiermodels.data.prepare import prepare

ROLES = {"outcome": "y", "groups": ["study", "effect"]}


@pytest.fixture
def frame():
    """Rows of three studies, those of the first apart."""
    return pd.DataFrame(
        {
            "y": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "se": [1.0, 2.0, 0.5, 1.0, 3.0, 1.5],
            "study": ["a", "b", "a", "c", "b", "b"],
            "effect": list("uvwxyz"),
        },
        index=list("ABCDEF"),
    )


def v_of(frame, r=0.3):
    """The covariance with one correlation within studies."""
    se, study = frame["se"].to_numpy(), frame["study"].to_numpy()
    same = study[:, None] == study
    return np.where(np.eye(len(se)) > 0, 1.0, r * same) * se[:, None] * se


def dense(data):
    """V of rows that were read, as a matrix."""
    v = np.zeros((data.n_rows, data.n_rows))
    for rows, block in data.covariance.blocks:
        v[np.ix_(rows, rows)] = block
    return v


def test_a_correlation_is_that_of_errors(frame):
    variances = frame.assign(vi=frame["se"] ** 2).drop(columns="se")
    for given, how in ((frame, {"se": "se"}), (variances, {"variance": "vi"})):
        spec, data = prepare(given, **ROLES, **how, sampling_correlation=0.3)
        np.testing.assert_allclose(dense(data), v_of(frame), rtol=1e-15)
        assert spec.sampling == 0.3
        assert spec.describe()[0].endswith("correlated by 0.3 within study")


@pytest.mark.parametrize(
    "form", [np.array, scipy.sparse.coo_array, scipy.sparse.csc_matrix, pd.DataFrame]
)
def test_matrices_lose_the_rows_that_are_dropped(frame, form):
    v = v_of(frame)
    frame.loc["B", "y"] = np.nan
    _, data = prepare(frame, **ROLES, covariance=form(v), missing="drop")
    kept = [0, 2, 3, 4, 5]
    np.testing.assert_array_equal(dense(data), v[np.ix_(kept, kept)])
    np.testing.assert_allclose(data.se, frame["se"].iloc[kept])


def test_matrices_by_study(frame):
    v, study = v_of(frame), frame["study"].to_numpy()
    blocks = {s: v[np.ix_(study == s, study == s)] for s in "bca"}
    _, data = prepare(frame, **ROLES, covariance=blocks)
    np.testing.assert_array_equal(dense(data), v)


def bad_matrices(frame):
    """Matrices that are refused, and what the message says."""
    v = v_of(frame)
    between, skew, singular, negative = (v.copy() for _ in range(4))
    between[0, 3] = between[3, 0] = 0.1
    skew[1, 4] += 0.01
    singular[2, 2], singular[0, 2] = 0.25, 0.5
    singular[2, 0] = 0.5
    negative[3, 3] = -1
    by_study = {s: np.eye(n) for s, n in (("a", 2), ("b", 3))}
    labelled = pd.DataFrame(v, frame.index, frame.index)
    return {
        "of shape (6, 6); found (5, 5)": v[:5, :5],
        "for rows 'A', 'D', of 'a' and 'c'": between,
        "symmetric matrix; found": skew,
        "for rows 'B', 'E', of study 'b'": skew,
        "positive definite matrix; that of study 'a', with 2 rows": singular,
        "found -1 for row 'D', of study 'c'": negative,
        "none for 'c'": by_study,
        "one for 'd'": {**by_study, "c": [[1.0]], "d": [[1.0]]},
        "study 'c' has 1 rows": {**by_study, "c": np.eye(2)},
        "finite numbers": np.where(v == v[3, 3], np.nan, v),
        "matrix of numbers": "V",
        "in another order": labelled.loc[frame.index[::-1], frame.index[::-1]],
    }


@pytest.mark.parametrize("number", range(12))
def test_matrices_that_are_refused(frame, number):
    message, given = list(bad_matrices(frame).items())[number]
    with pytest.raises(hm.DataError) as error:
        prepare(frame, **ROLES, covariance=given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"se": "se"}, "leave out se='se'"),
        ({"variance": "se"}, "leave out variance='se'"),
        ({"weights": "se"}, "leave out weights='se'"),
        ({"residual_by": "study"}, "leave out residual_by='study'"),
        ({"sampling_correlation": 0.1}, "leave out sampling_correlation=0.1"),
        ({"family": "poisson"}, "known covariances are those of normal rows"),
        ({"groups": []}, "this model has none"),
    ],
)
def test_a_matrix_says_all_of_the_errors(frame, more, message):
    with pytest.raises(hm.SpecError) as error:
        prepare(frame, **ROLES | more, covariance=v_of(frame))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("r", "more", "message"),
    [
        (0.3, {"se": False}, "take known errors of the rows"),
        (1.0, {"se": "se"}, "between -1 and 1; found 1.0"),
        ("0.3", {"se": "se"}, "between -1 and 1; found '0.3'"),
        (True, {"se": "se"}, "found True"),
        (-0.5, {"se": "se"}, "between -0.5 and 1, as study 'b' has 3 rows; found -0.5"),
    ],
)
def test_correlations_that_are_refused(frame, r, more, message):
    with pytest.raises(hm.HierModelsError) as error:
        prepare(frame, **ROLES | more, sampling_correlation=r)
    assert message in str(error.value)


def test_statistics_know_no_covariances(frame):
    import polars as pl

    how = {**ROLES, "se": "se", "sampling_correlation": 0.3}
    with pytest.raises(hm.SpecError, match="errors that are correlated need rows"):
        hm.SufficientStatistics.of(frame, **how)
    with pytest.raises(hm.SpecError, match="errors that are correlated need rows"):
        hm.fit(pl.from_pandas(frame).lazy(), **how)


def test_correlations_that_the_exact_engine_does_not_take(frame):
    slopes = "y ~ x + (1 + x | study) + (1 | study:item)"
    with pytest.raises(hm.SpecError, match="2 effects vary, not one"):
        hm.reference(
            frame.assign(x=np.arange(6.0), item=frame["effect"]),
            slopes,
            se="se",
            sampling_correlation=0.3,
            priors="weak",
        )


def test_what_is_stored_comes_back(frame, tmp_path):
    fit = hm.fit(frame, **ROLES, covariance=v_of(frame), priors="weak", draws=5, random_seed=1)
    again = hm.load(fit.to_netcdf(tmp_path / "fit.nc"))
    assert again.spec == fit.spec
    np.testing.assert_array_equal(dense(again.data), dense(fit.data))
    assert again.reference().mean.identical(fit.reference().mean)
