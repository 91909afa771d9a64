"""Draws of counts are compared with the posterior of the same counts only."""

from __future__ import annotations

import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.results.matching import require_same_data, require_same_model
from tests.data import counts

FORMULAS = {
    "cases": "deaths | trials(cases) ~ (1 | hospital)",
    "hours": "events | rate(hours) ~ offset(shift) + (1 | hospital)",
    "shift": "deaths | trials(cases) ~ offset(shift) + (1 | hospital)",
}


def moved(column: str):
    """The same rows with another value of a column in one hospital."""
    frame = counts.rows()
    return frame.assign(**{column: frame[column] + (frame["hospital"] == "h5")})


def data(frame, formula: str, as_statistics: bool):
    source = hm.SufficientStatistics.of(frame, formula) if as_statistics else None
    return prepare(source)[1] if as_statistics else prepare(frame, formula)[1]


@pytest.mark.parametrize("sides", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("column", FORMULAS)
def test_other_trials_exposures_or_offsets_are_other_data(column, sides):
    formula = FORMULAS[column]
    mine, same = (data(counts.rows(), formula, side) for side in sides)
    require_same_data(mine, same)
    other = data(moved(column), formula, sides[1])
    with pytest.raises(hm.SpecError, match="are of different data: the t"):
        require_same_data(mine, other)


def test_other_families_are_other_models():
    specs = [
        prepare(counts.rows(), "events ~ (1 | hospital)", family=family)[0]
        for family in ("poisson", hm.NegativeBinomial(3.0))
    ]
    require_same_model(specs[0], specs[0])
    with pytest.raises(hm.SpecError, match=r"different models: family is Poisson\(\) for the"):
        require_same_model(*specs)
