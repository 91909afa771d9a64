"""Input that nobody should give: it is refused with a word on what and where, or it is right."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.read_rows import read

ROLES = {"outcome": "y", "groups": "g"}


def rows(**columns) -> pd.DataFrame:
    """Two rows in each of four groups."""
    plain = {"y": [1.0, 2.5, 3.0, 5.0, 4.0, 6.5, 8.0, 7.0], "g": list("aabbccdd")}
    plain["x"] = [0.5, 2.0, -1.0, 0.0, 3.0, -2.0, 1.0, 1.5]
    return pd.DataFrame(plain | columns)


def column(*values) -> pd.Series:
    """Values, over and over, in a column of objects."""
    return pd.Series([values[i % len(values)] for i in range(8)], dtype=object)


@pytest.mark.parametrize("label", ["a\0", "\0", "a\0b", "\ud800"])
def test_labels_with_a_nul_are_not_another_group(label):
    """Arrays of text drop a NUL at the end, so that ``a`` and ``a\\0`` were both called ``a``."""
    with pytest.raises(hm.DataError, match=r"column 'g': label .* in rows 1, 3, 5, 7 has a NUL"):
        read(rows(g=column("a", label)), **ROLES)
    fit = hm.fit(rows(), **ROLES, priors={"tau": hm.HalfNormal(3)}, draws=5)
    with pytest.raises(hm.DataError, match="has a NUL"):
        fit.predict(rows(g=column("a", label)))


@pytest.mark.parametrize("label", [[1], {1: 2}, {1}, np.array([1, 2])])
def test_lists_are_no_labels(label):
    with pytest.raises(hm.DataError, match=r"column 'g': expected labels such as .* in row 1"):
        read(rows(g=column("a", label)), **ROLES)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10**400, "expected finite numbers of size up to 1e.150; found inf in row 0"),
        (-(10**400), "expected finite numbers of size up to 1e.150; found -inf in row 0"),
        (
            np.longdouble("1e4000"),
            "expected finite numbers of size up to 1e.150; found inf in row 0",
        ),
        (Decimal("sNaN"), "1 missing value, in row 0"),
        (Decimal("NaN"), "1 missing value, in row 0"),
        (np.complex128(1), "expected numbers.* found"),
        (np.timedelta64(1, "s"), "expected numbers.* found"),
        (datetime.timedelta(1), "expected numbers.* found"),
    ],
)
@pytest.mark.parametrize("name", ["y", "x"])
def test_numbers_that_no_float_can_be_are_refused_by_name(name, value, message):
    """They raised OverflowError, InvalidOperation, a warning and TypeError."""
    found = rows()[name].astype(object)
    found[0] = value
    with pytest.raises(hm.DataError, match=f"column '{name}': {message}"):
        read(rows(**{name: found}), **ROLES, covariates=["x"])


@pytest.mark.parametrize("names", [(0, 1, 2), (None, "g", "x"), (("y", ""), ("g", ""), ("x", ""))])
def test_columns_that_are_not_named_by_text(names):
    """Narwhals took the number of a column for that of a row."""
    frame = rows()
    frame.columns = pd.Index(names, tupleize_cols=False)
    with pytest.raises(hm.DataError, match="expected columns that are named by text; found"):
        hm.fit(frame)
    with pytest.raises(hm.SpecError, match="outcome: expected the name of a column as text"):
        hm.fit(frame, outcome=0, groups=["g"])
    with pytest.raises(hm.SpecError, match="groups: expected the name of a column as text"):
        hm.fit(frame, outcome="y", groups=[1])
    with pytest.raises(hm.SpecError, match="covariates: expected the name of a column as text"):
        hm.fit(frame, outcome="y", groups=["g"], covariates=[2])


def test_columns_that_are_not_used_may_be_named_by_anything():
    assert read(rows().rename(columns={"x": 5}), **ROLES).n_rows == 8


@pytest.mark.parametrize("role", ["outcome", "groups", "se", "covariates"])
@pytest.mark.parametrize("name", ["", "a\0"])
def test_columns_without_a_name(role, name):
    """Standard errors in a column without a name were left out, and sigma taken for unknown."""
    columns = {"outcome": "y", "groups": "g", "se": "se", "covariates": "x"}
    frame = rows(se=1.0).rename(columns={columns[role]: name})
    given = columns | {role: name}
    with pytest.raises(hm.SpecError, match=rf"{role}: column .* has a name that is empty or has a"):
        hm.reference(frame, **given)


@pytest.mark.parametrize("role", ["groups", "covariates"])
@pytest.mark.parametrize("given", [5, {"g"}, {"g": 1}, b"g", iter(["g"]), pd.DataFrame({"g": [1]})])
def test_names_are_a_list(role, given):
    """The order of a set changes from run to run."""
    with pytest.raises(hm.SpecError, match=f"{role}: expected the name of a column, or a list"):
        hm.reference(rows(), **{**ROLES, role: given})


@pytest.mark.parametrize("make", [list, tuple, np.array, pd.Index])
def test_names_may_be_in_any_list(make):
    data = hm.reference(rows(), outcome="y", groups=make(["g"]), covariates=make(["x"])).data
    assert (data.roles.groups, data.design.names) == (("g",), ("x",))


@pytest.mark.parametrize("role", ["outcome", "groups", "covariates"])
def test_values_are_not_names(role):
    """The truth of a Series is ambiguous."""
    with pytest.raises(hm.HierModelsError, match=f"{role}: expected the name|no column 1.0"):
        hm.reference(rows(), **{**ROLES, role: rows()["y"]})


@pytest.mark.parametrize("name", ["theta", "mu", "tau", "beta", "sigma", "quantile"])
def test_outcomes_with_the_name_of_a_parameter(name):
    """The data tree took the parameter's dimensions for those of the outcome."""
    with pytest.raises(hm.SpecError, match=f"outcome: '{name}' cannot be the name of a variable"):
        hm.fit(rows().rename(columns={"y": name}), outcome=name, groups="g", covariates="x")


def test_standard_errors_with_the_name_of_a_parameter():
    frame = rows(tau=1.0)
    with pytest.raises(hm.SpecError, match="se: 'tau' cannot be the name of a variable"):
        hm.fit(frame, **ROLES, se="tau")


def test_groups_with_the_name_of_a_dimension_of_quantiles():
    """Quantiles had that dimension twice."""
    with pytest.raises(hm.SpecError, match="groups: 'quantile' cannot be the name of a dimension"):
        hm.fit(rows().rename(columns={"g": "quantile"}), outcome="y", groups="quantile")


@pytest.fixture(scope="module")
def fit():
    return hm.fit(rows(), **ROLES, priors={"tau": hm.HalfNormal(3)}, draws=5, random_seed=1)


WRONG_OPTIONS = {
    "engine": lambda fit: hm.fit(rows(), **ROLES, engine=["exact"]),
    "memory_budget": lambda fit: hm.fit(
        rows(), **ROLES, priors=fit.spec.priors, memory_budget="a lot"
    ),
    "priors": lambda fit: hm.fit(rows(), **ROLES, priors="tau"),
    "groups: expected a label": lambda fit: fit.draws({"a"}),
    "top": lambda fit: fit.rank(top="a"),
    "top:": lambda fit: fit.rank(top=np.nan),
    "threshold": lambda fit: fit.rank(threshold="a"),
    "threshold: expected numbers": lambda fit: fit.rank(threshold=np.nan),
    "threshold:": lambda fit: fit.rank(threshold=1j),
    "threshold: expected one": lambda fit: fit.rank(threshold=[1]),
    "ci_prob": lambda fit: fit.rank(ci_prob="a"),
    "ci_prob:": lambda fit: fit.variance_components(None),
    "var_names: expected": lambda fit: fit.summary(5),
    "summary: Unsupported key": lambda fit: fit.summary([["theta"]]),
    "summary: The value of prob": lambda fit: fit.summary(ci_prob=2),
    "summary: valid options for kind": lambda fit: fit.summary(kind="no"),
    "summary: .* unexpected": lambda fit: fit.summary(nonsense=1),
    "q: expected probabilities": lambda fit: fit.reference().quantile([]),
    "q: expected": lambda fit: fit.reference().quantile([[0.5]]),
    "q: expected numbers": lambda fit: fit.reference().quantile("a"),
    "q:": lambda fit: fit.predict().quantile([]),
    "var_names:": lambda fit: fit.reference().quantile(0.5, 5),
    "var_names": lambda fit: fit.predict().quantile(0.5, 5),
    "values: expected numbers": lambda fit: fit.reference().cdf("tau", np.nan),
    "values:": lambda fit: fit.predict().cdf("y", [None]),
    "values: expected 1 or 4": lambda fit: fit.reference().cdf("theta", [1, 2]),
    "values: expected 1 or 5": lambda fit: fit.predict().cdf("y", [1, 2]),
    "memory_budget:": lambda fit: fit.predict(memory_budget=None),
    "replicate": lambda fit: fit.check(replicate=["g"]),
    "priors:": lambda fit: fit.sensitivity(5),
    "truth": lambda fit: fit.estimates([10**400] * 4),
}


@pytest.mark.parametrize("message", WRONG_OPTIONS)
def test_options_of_another_kind_are_refused_by_name(fit, message):
    """They raised whatever stood in their way, and ``cdf`` of nan was 0."""
    with pytest.raises(hm.HierModelsError, match=f"^{message}"):
        WRONG_OPTIONS[message](fit)


def test_no_probability_exceeds_one():
    """The distribution function of an sd was 1.000002 far in its tail, and less at infinity."""
    exact = hm.reference(rows(), **ROLES, covariates="x", priors={"tau": hm.HalfNormal(1)})
    for name in ("tau", "sigma", "mu"):
        found = exact.cdf(name, [-np.inf, 0.0, 5.0, 7.0, 10.0, 100.0, 1e10, 1e300, np.inf])
        assert ((found >= 0) & (found <= 1)).all()
        assert (found[0], found[-1]) == (0, 1)


@pytest.mark.parametrize("text", ["\ud800", "a\0"])
def test_half_a_character_is_no_level_of_a_covariate(text):
    """Half a pair of code units raised UnicodeEncodeError in pandas."""
    with pytest.raises(hm.DataError, match=r"column 'x': text .* in rows 1, 3, 5, 7 has a NUL"):
        read(rows(x=column("a", text)), **ROLES, covariates=["x"])
