"""Groups of a formula, from the outermost to the innermost level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from hiermodels.errors import SpecError
from hiermodels.model.formula.intercept import has_intercept, with_zero
from hiermodels.model.formula.terms import covariate_terms, quote, write
from hiermodels.model.formula.tokens import Token, closes_at_end, cut, span, split
from hiermodels.model.level import INTERCEPT, MAX_LEVELS, Varying


def has_bar(tokens: Sequence[Token]) -> bool:
    """Whether it is a term of groups."""
    return any(token.sign in ("|", "||") for token in tokens)


class Nest(NamedTuple):
    """Groups in one pair of parentheses: ``/`` or ``:``, their columns, and where they stand.

    And what varies between the groups of each.
    """

    sign: str
    columns: tuple[str, ...]
    where: Token
    varying: Varying


def group_term(tokens: Sequence[Token]) -> Nest:
    """Read ``(1 | a)``, ``(1 | a/b)``, ``(1 | a:b)`` or, with slopes, ``(1 + x | a)``."""
    where = span(tokens)
    signs = [token.sign for token in tokens]
    if signs[0] != "(" or not closes_at_end(tokens):
        where.refuse(
            "groups stand in parentheses of their own, as in (1 | school), joined to other terms "
            "by +"
        )
    bar = next(i for i, sign in enumerate(signs) if sign in ("|", "||"))
    varying = _varying(tokens[1:bar], where, correlated=signs[bar] == "|")
    columns, joints = tokens[bar + 1 : -1 : 2], signs[bar + 2 : -1 : 2]
    if (
        len(columns) != len(joints) + 1
        or not all(token.is_column for token in columns)
        or set(joints) not in (set(), {"/"}, {":"})
    ):
        where.refuse(
            "expected a column of group labels, (1 | school), or several, (1 | school/class)"
        )
    return Nest("".join(set(joints)), tuple(token.text for token in columns), where, varying)


def _varying(tokens: Sequence[Token], where: Token, *, correlated: bool) -> Varying:
    """Read what stands before the bar: ``1``, ``1 + x``, ``x``, which is the same, or ``0 + x``."""
    if not tokens:
        where.refuse("expected what varies between the groups, as in (1 | school)")
    summands = split(with_zero(tokens), "+", where)
    terms = tuple(write(term) for term in covariate_terms(summands))
    intercept = (INTERCEPT,) if has_intercept(summands) else ()
    if not (intercept or terms):
        where.refuse("nothing varies between these groups. Write (1 | school) for the intercept")
    return Varying((*intercept, *terms), correlated or len(intercept + terms) < 2)


def write_groups(columns: Sequence[str], varying: Sequence[Varying]) -> list[str]:
    """Groups as they stand in a formula: one term, or one for each level that varies otherwise."""
    if not columns:
        return []
    quoted = list(map(quote, columns))
    if len(set(varying)) < 2:
        return [f"({_written(next(iter(varying), Varying()))} {'/'.join(quoted)})"]
    return [f"({_written(own)} {':'.join(quoted[: i + 1])})" for i, own in enumerate(varying)]


def _written(own: Varying) -> str:
    """What varies, with the bar."""
    has = own.terms[0] == INTERCEPT
    terms = ["1" if has else "0", *(own.terms[1:] if has else own.terms)]
    return f"{' + '.join(terms) if len(terms) > 1 else terms[0]} {'|' if own.correlated else '||'}"


def nesting(nests: Sequence[Nest], formula: str) -> tuple[tuple[str, ...], tuple[Varying, ...]]:
    """Columns of the groups, from the outermost to the innermost level, and what varies there.

    The latter is empty where only intercepts vary.
    """
    for nest in nests:
        if len(set(nest.columns)) < len(nest.columns):
            nest.where.refuse("a column stands in it twice")
        if len(nest.columns) > MAX_LEVELS:
            nest.where.refuse(
                f"more than {MAX_LEVELS} columns of groups are not supported. Leave one out, or "
                f"use PyMC or bambi"
            )
    if not nests:
        return (), ()
    chain = _chain(_without_repeats(nests))
    if chain is None:
        _refuse_nests(nests, formula)
    columns, varying = chain
    return columns, () if all(own.is_intercept for own in varying) else varying


def _without_repeats(nests: Sequence[Nest]) -> list[Nest]:
    """Terms of the same groups as one: ``(1 | a) + (0 + x | a)`` is ``(1 + x || a)``."""
    by_columns: dict[frozenset[str], Nest] = {}
    for nest in nests:
        key = frozenset(nest.columns)
        other = by_columns.get(key)
        if other is None:
            by_columns[key] = nest
            continue
        terms = (*other.varying.terms, *nest.varying.terms)
        if len(set(terms)) < len(terms):
            nest.where.refuse("these effects of these groups stand in the formula twice")
        if any(own.correlated and len(own.terms) > 1 for own in (other.varying, nest.varying)):
            nest.where.refuse(
                "effects of the same groups of which some are correlated are not supported. Write "
                "them in one term, (1 + x | g), or all uncorrelated, (1 + x || g)"
            )
        ordered = sorted(terms, key=lambda term: term != INTERCEPT)
        by_columns[key] = other._replace(varying=Varying(tuple(ordered), correlated=False))
    return list(by_columns.values())


def _chain(nests: Sequence[Nest]) -> tuple[tuple[str, ...], tuple[Varying, ...]] | None:
    """Columns, each nested in the one before, with what varies; None if they are no such chain."""
    if len(nests) == 1:
        (only,) = nests
        varying = (only.varying,) * len(only.columns)
        return (only.columns, varying) if only.sign != ":" else None
    columns: tuple[str, ...] = ()
    for nest in sorted(nests, key=lambda nest: len(nest.columns)):
        more = [column for column in nest.columns if column not in columns]
        if nest.sign == "/" or len(more) != 1 or len(nest.columns) != len(columns) + 1:
            return None
        columns = (*columns, more[0])
    ordered = sorted(nests, key=lambda nest: len(nest.columns))
    return columns, tuple(nest.varying for nest in ordered)


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
