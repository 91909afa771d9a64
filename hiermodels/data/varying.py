"""Columns of the design that vary between groups, from the terms that a formula names."""

from __future__ import annotations

from collections.abc import Sequence

from hiermodels.data.design import Design
from hiermodels.errors import SpecError
from hiermodels.model.formula.terms import Factor, factors
from hiermodels.model.level import INTERCEPT, Varying


def varying_columns(varying: Sequence[Varying], design: Design) -> tuple[Varying, ...]:
    """Columns of the design, in its order, in place of terms: of ``sex`` ``sex[F]``, ``sex[M]``.

    Raises
    ------
    SpecError
        If a term does not stand in the formula outside the parentheses, too, so that its effects
        have no mean; or if its columns there are others.
    """
    return tuple(_columns_of(own, design) for own in varying)


def varying_terms(varying: Sequence[Varying], design: Design) -> tuple[Varying, ...]:
    """Terms of the formula in place of columns of the design: the inverse."""
    return tuple(_terms_of(own, design) for own in varying)


def _terms_of(own: Varying, design: Design) -> Varying:
    intercept = (INTERCEPT,) if INTERCEPT in own.terms else ()
    names = {term: _named(frozenset(factors(term)), design) for term in design.terms}
    terms = (term for term, columns in names.items() if columns and set(columns) <= {*own.terms})
    return Varying((*intercept, *terms), own.correlated)


def _columns_of(own: Varying, design: Design) -> Varying:
    intercept = (INTERCEPT,) if INTERCEPT in own.terms else ()
    wanted = {
        column
        for term in own.terms[len(intercept) :]
        for column in _columns_of_term(term, design, bool(intercept))
    }
    columns = (*intercept, *(name for name in design.names if name in wanted))
    return Varying(columns, own.correlated or len(columns) < 2)


def _columns_of_term(term: str, design: Design, intercept: bool) -> list[str]:
    """Columns of a term, which has to be coded as the parentheses say."""
    wanted = frozenset(factors(term))
    if wanted not in map(frozenset, map(factors, design.terms)):
        raise SpecError(
            f"formula: the effect of {term} varies between groups, and has no mean. Add {term} to "
            f"the terms outside the parentheses"
        )
    if intercept != design.intercept and any(f.column in design.levels for f in wanted):
        raise SpecError(
            f"formula: {term} is categorical, and its columns depend on the intercept. Write 0 + "
            f"both before the bar and outside the parentheses, to have a column for each level, or "
            f"in neither place"
        )
    return _named(wanted, design)


def _named(wanted: frozenset[Factor], design: Design) -> list[str]:
    """Columns of the design that belong to a term, given by its factors."""
    names = {factor.column for factor in wanted}
    return [
        name
        for name, product in zip(*design.layout, strict=True)
        if {column for column, _ in product} == names and name in design.names
    ]
