"""Where effects are shown: at which values of the covariates.

A group's effect is an intercept, ``y = theta + x'beta``, and belongs to x = 0.  Where that is far
from the rows, as with years around 2000, nobody asks for it, and it is hardly known.  What is shown
of the effects v of any level is ``v + x'beta`` at an x that is said; the posterior that is kept
stays at x = 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import LARGEST, listed, short
from hiermodels.core.names import ROOT
from hiermodels.core.options import real_number
from hiermodels.data.coding import Part, level_text, term_columns
from hiermodels.data.design import Design
from hiermodels.data.grouped import GroupedData
from hiermodels.data.level_means import means_of_level, with_one_nest
from hiermodels.data.statistics import SufficientStatistics, statistics_of
from hiermodels.errors import SpecError
from hiermodels.families.normal import WEIGHTS
from hiermodels.model.formula.terms import factors

AUTO, OWN, MEANS, ZERO = "auto", "own", "means", "zero"
WORDS = (AUTO, OWN, MEANS, ZERO)
SHOWN = 4  # covariates whose values a note names

type At = str | Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Values of the covariates at which effects are shown.

    Attributes
    ----------
    x : tuple of (q,) or (u, q)
        Of the intercept, then of the effects of each level, the outermost first: the same for all
        groups of a level, or each group's own.
    words : str
        Where that is, such as ``"at the covariates' means: year = 2000.3"``; empty for a model
        without covariates.
    """

    x: tuple[Floats, ...]
    words: str

    @property
    def is_zero(self) -> bool:
        """Whether all is at x = 0."""
        return not any(x.any() for x in self.x)

    def of(self, level: int) -> Floats:
        """Those of a level, or of ``ROOT``; (q,) or (u, q)."""
        return self.x[level - ROOT]

    def shift(self, level: int, beta: Floats, members: Any = slice(None)) -> Floats:
        """What is added to effects of a level's groups, from draws of β (..., q); (..., u or 1)."""
        x = np.atleast_2d(self.of(level))
        return beta @ (x if len(x) == 1 else x[members]).T

    def note(self, names: Sequence[str]) -> list[str]:
        """What a table of these values says of them: a line, or none without covariates."""
        return [f"{', '.join(names)} {self.words}"] if self.words and names else []


def locate(data: GroupedData, at: Any = AUTO) -> Place:
    """Find the covariates that effects are to be shown at.

    Parameters
    ----------
    data : GroupedData
    at : {"auto", "means", "own", "zero"} or mapping of str to value
        The covariates' means over the rows; each group's own, the mean of its rows (weighted with
        ``1/se²`` where standard errors are known), with that of all rows for the intercept; 0; or
        some columns of the data at these values, numbers or levels, and the others at their means.
        ``"auto"``: the means; 0 where slopes vary between groups, as sds and correlations of
        intercepts are those at 0.
        A term such as ``x:sex`` has the mean of its product, with what is given in place.

    Raises
    ------
    SpecError
        If it is something else, or names what is no column of a covariate.
    """
    if isinstance(at, Mapping):
        given = _checked(data.design, at)
    elif isinstance(at, str) and at in WORDS:
        given = {}
    else:
        raise SpecError(
            f"at: expected {', '.join(map(repr, WORDS))}, or a mapping of columns to values such "
            f"as {{'year': 2000}}; found {short(at)}"
        )
    if isinstance(at, str) and at == AUTO:
        at = ZERO if data.roles.varying else MEANS
    places = len(data.levels) + 1
    if not data.design.names:
        return Place((np.empty(0),) * places, "")
    if at == OWN:
        return _own(data)
    if at == ZERO:
        return Place((np.zeros(len(data.design.names)),) * places, _words_at_zero(data.design))
    means, how = _means(data)
    x = _with(data.design, means, given) if given else means
    return Place((x,) * places, _words(data.design, means, given, how))


def _means(data: GroupedData) -> tuple[Floats, str]:
    """Means of the covariates over the rows, and how they were taken if not as they should be.

    Statistics of rows with known standard errors, or weights, keep weighted means only.
    """
    if not (isinstance(data, SufficientStatistics) and data.roles.is_weighted):
        return data.mean_covariates, ""
    how = "with 1/se²" if data.roles.errors_column else f"with {data.roles.columns[WEIGHTS]}"
    return (data.mean[0] + data.total[0])[:-1], f" (weighted {how})"


def _own(data: GroupedData) -> Place:
    """Each group at the mean of its rows."""
    if not data.roles.groups:
        return Place((_means(data)[0],), "at the covariates' means over all rows")
    statistics = statistics_of(with_one_nest(data))
    of = data if data.roles.nesting else statistics
    levels = [means_of_level(of, level)[1][:, :-1] for level in range(len(data.levels))]
    top = (statistics.mean[0] + statistics.total[0])[:-1]
    words = "each at its own covariates, the means of its rows"
    return Place((top, *levels), words)


def _checked(design: Design, given: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of numeric columns, and levels of categorical ones as text."""
    columns = term_columns(design.terms)
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in columns:
            known = f"these are {listed(columns)}" if columns else "this model has none"
            raise SpecError(f"at: {short(name)} is no column of a covariate; {known}")
        if name not in design.levels:
            checked[name] = real_number(f"at: column {name!r}", value)
            if not abs(checked[name]) <= LARGEST:
                raise SpecError(
                    f"at: column {name!r}: expected a finite number of size up to {LARGEST:g}; "
                    f"found {value!r}"
                )
        elif level_text(value) in design.levels[name]:
            checked[name] = level_text(value)
        else:
            raise SpecError(
                f"at: column {name!r} has the levels {listed(design.levels[name])}; found "
                f"{short(value)}"
            )
    return checked


def _with(design: Design, means: Floats, given: Mapping[str, Any]) -> Floats:
    """Means of the design's columns over rows in which some columns of the data are as given."""
    names, products = design.layout
    by_column = dict.fromkeys(design.empty, 0.0) | dict(zip(design.names, means, strict=True))
    known = {frozenset(p): float(by_column[name]) for name, p in zip(names, products, strict=True)}
    x = []
    for name, product in zip(names, products, strict=True):
        fixed = prod(_value(design, part, given[part[0]]) for part in product if part[0] in given)
        rest = frozenset(part for part in product if part[0] not in given)
        value = fixed * _mean(design, rest, known) if fixed else 0.0
        if name not in design.empty:
            x.append(value)
        elif value:
            raise SpecError(
                f"at: {short(dict(given))} lies in the cell {name!r}, in which the data have no "
                f"row: nothing is known of its coefficient. Give other values"
            )
    return np.array(x)


def _value(design: Design, part: Part, given: Any) -> float:
    """A factor of a column of the design where a column of the data has a value."""
    column, level = part
    if level is not None:
        return float(level == given)
    mean, unit = design.constants.get(column, (0.0, 1.0))
    return float((given - mean) / unit)


def _mean(design: Design, rest: frozenset[Part], known: Mapping[frozenset[Part], float]) -> float:
    """Mean of a product over the rows, from the means of the design's columns."""
    if not rest:
        return 1.0
    if rest in known:
        return known[rest]
    for column in design.levels:
        here = {level: (column, level) for level in design.levels[column]}
        inside = [part for part in rest if part in here.values()]
        without = rest.difference(inside)
        total = 1.0 if not without else known.get(without)
        others = [known.get(without | {part}) for part in here.values() if part not in inside]
        if not inside and None not in others:
            return float(sum(others))  # type: ignore[arg-type]
        if inside and total is not None and None not in others:
            return float(total - sum(others))  # type: ignore[arg-type]
    columns = [column for column, _ in sorted(rest, key=str)]
    raise SpecError(
        f"at: the mean of {listed(columns)} is not known, as it stands in the formula only "
        f"together with what was given. Give a value for it, too"
    )


def _words(design: Design, means: Floats, given: Mapping[str, Any], how: str) -> str:
    """Say where effects are shown."""
    others = {n: text for n, text in _shown_means(design, means).items() if n not in given}
    texts = list(dict.fromkeys(text for shown in others.values() for text in shown))
    listing = ", ".join(texts[:SHOWN]) + (", …" if len(texts) > SHOWN else "")
    if not given:
        return f"at the covariates' means{how}: {listing}" if texts else "at the covariates' means"
    at = ", ".join(
        f"{name} = {value if isinstance(value, str) else f'{value:.6g}'}"
        for name, value in given.items()
    )
    remaining = [name for name in term_columns(design.terms) if name not in given]
    if not remaining:
        return f"at {at}"
    return f"at {at}, other covariates at their means{how}{': ' if texts else ''}{listing}"


def _words_at_zero(design: Design) -> str:
    """Say where x = 0 is: at the first level of a column, unless that has a column of its own."""
    references = {name: f"{name}[{levels[0]}]" for name, levels in design.levels.items()}
    without = [f"no level of {n}" for n, column in references.items() if column in design.names]
    return ", ".join(["at x = 0", *without])


def _shown_means(design: Design, means: Floats) -> dict[str, list[str]]:
    """Means of columns that stand in the formula by themselves, in their own units."""
    by_name = dict(zip(design.names, means.tolist(), strict=True))
    texts: dict[str, list[str]] = {}
    for term in design.terms:
        (factor, *others) = factors(term)
        if others:
            continue
        column = factor.column
        if column in design.levels:
            names = [f"{column}[{level}]" for level in design.levels[column]]
            texts[column] = [f"{n} = {by_name[n]:.5g}" for n in names if n in by_name]
        else:
            mean, unit = design.constants.get(column, (0.0, 1.0))
            name = f"{factor.function}({column})" if factor.is_moved else column
            texts[column] = [f"{column} = {mean + unit * by_name[name]:.5g}"]
    return texts
