"""Groups of a formula, from the outermost to the innermost level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from hiermodels.errors import SpecError
from hiermodels.model.formula.terms import quote
from hiermodels.model.formula.tokens import Token, closes_at_end, cut, span
from hiermodels.model.level import MAX_LEVELS


def has_bar(tokens: Sequence[Token]) -> bool:
    """Whether it is a term of groups."""
    return any(token.sign in ("|", "||") for token in tokens)


class Nest(NamedTuple):
    """Groups in one pair of parentheses: ``/`` or ``:``, their columns, and where they stand."""

    sign: str
    columns: tuple[str, ...]
    where: Token


def group_term(tokens: Sequence[Token]) -> Nest:
    """Read ``(1 | a)``, ``(1 | a/b)`` or ``(1 | a:b)``."""
    where = span(tokens)
    signs = [token.sign for token in tokens]
    if signs[0] != "(" or not closes_at_end(tokens):
        where.refuse(
            "groups stand in parentheses of their own, as in (1 | school), joined to other terms "
            "by +"
        )
    bar = next(i for i, sign in enumerate(signs) if sign in ("|", "||"))
    if signs[bar] == "||" or [token.text for token in tokens[1:bar]] != ["1"]:
        where.refuse(
            "only intercepts vary between groups, as in (1 | school). Give a covariate one slope; "
            "for slopes that vary, use PyMC or bambi"
        )
    columns, joints = tokens[bar + 1 : -1 : 2], signs[bar + 2 : -1 : 2]
    if (
        len(columns) != len(joints) + 1
        or not all(token.is_column for token in columns)
        or set(joints) not in (set(), {"/"}, {":"})
    ):
        where.refuse("expected a column of group labels, (1 | school), or two, (1 | school/class)")
    return Nest("".join(set(joints)), tuple(token.text for token in columns), where)


def nesting(nests: Sequence[Nest], formula: str) -> tuple[str, ...]:
    """Columns of the groups, from the outermost to the innermost level."""
    for nest in nests:
        if len(set(nest.columns)) < len(nest.columns):
            nest.where.refuse("a column stands in it twice")
        if len(nest.columns) > MAX_LEVELS:
            nest.where.refuse(
                f"more than {MAX_LEVELS} levels of groups are not supported. Leave one out, or "
                f"use PyMC or bambi"
            )
    if not nests:
        return ()
    first = nests[0]
    if len(nests) == 1 and first.sign != ":":
        return first.columns
    shorter, *others = sorted(nests, key=lambda nest: len(nest.columns))
    if len(others) == 1 and len(shorter.columns) == 1 and others[0].sign == ":":
        outer = shorter.columns[0]
        inner = [column for column in others[0].columns if column != outer]
        if len(inner) == 1:
            return (outer, *inner)
    _refuse_nests(nests, formula)


def _refuse_nests(nests: Sequence[Nest], formula: str) -> NoReturn:
    single = list(dict.fromkeys(nest.columns[0] for nest in nests if len(nest.columns) == 1))
    if len(single) > 1:
        outer, inner = map(quote, single[:2])
        raise SpecError(
            f"formula: {cut(formula)} has crossed groups, (1 | {outer}) + (1 | {inner}); "
            f"hiermodels' models are nested. If each {inner} lies in one {outer}, write "
            f"(1 | {outer}/{inner}); for crossed groups, use PyMC or bambi"
        )
    if len(nests) == 1:
        nests[0].where.refuse(
            "this leaves out the outer level. Write (1 | school/class) for both levels; for the "
            "inner alone, make one column of the two labels"
        )
    raise SpecError(
        f"formula: the groups of {cut(formula)} are not one nest. Expected (1 | school), or "
        f"(1 | school/class), which is (1 | school) + (1 | school:class); for other groups, use "
        f"PyMC or bambi"
    )
