"""Groups of a formula, from the outermost to the innermost level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from hiermodels.model.formula.crossed import Nest, crossed
from hiermodels.model.formula.intercept import has_intercept, with_zero
from hiermodels.model.formula.terms import covariate_terms, quote, write
from hiermodels.model.formula.tokens import Token, closes_at_end, span, split
from hiermodels.model.level import INTERCEPT, MAX_LEVELS, Varying
from hiermodels.model.nests import Nesting, nested_columns, parents_of


def has_bar(tokens: Sequence[Token]) -> bool:
    """Whether it is a term of groups."""
    return any(token.sign in ("|", "||") for token in tokens)


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


def write_groups(
    columns: Sequence[str], varying: Sequence[Varying], nesting: Nesting = ()
) -> list[str]:
    """Groups as they stand in a formula: one term, or one for each level that varies otherwise.

    Of crossed ones a term for each nest.
    """
    if not columns:
        return []
    paths = nested_columns(list(map(quote, columns)), nesting)
    if nesting:
        return _crossed_terms(paths)
    if len(set(varying)) < 2:
        return [f"({_written(next(iter(varying), Varying()))} {'/'.join(paths[-1])})"]
    pairs = zip(varying, paths, strict=True)
    return [f"({_written(own)} {':'.join(path)})" for own, path in pairs]


def _crossed_terms(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """``(1 | a/b)`` for columns that no other column divides, else a term for each column."""
    terms = []
    for root in (path for path in paths if len(path) == 1):
        nest = [path for path in paths if path[0] == root[0]]
        if all(inner[:-1] == outer for outer, inner in pairwise(nest)):
            terms.append(f"(1 | {'/'.join(nest[-1])})")
        else:
            terms += [f"(1 | {':'.join(path)})" for path in nest]
    return terms


def _written(own: Varying) -> str:
    """What varies, with the bar."""
    has = own.terms[0] == INTERCEPT
    terms = ["1" if has else "0", *(own.terms[1:] if has else own.terms)]
    return f"{' + '.join(terms) if len(terms) > 1 else terms[0]} {'|' if own.correlated else '||'}"


class Groups(NamedTuple):
    """Columns of the groups, what varies between these, and which column lies in which.

    ``varying`` is empty where only intercepts vary, and ``nesting`` where each column lies in the
    one before it.
    """

    columns: tuple[str, ...] = ()
    varying: tuple[Varying, ...] = ()
    nesting: Nesting = ()


def groups_of(nests: Sequence[Nest]) -> Groups:
    """The groups of a formula, from all its terms of groups."""
    for nest in nests:
        if len(set(nest.columns)) < len(nest.columns):
            nest.where.refuse("a column stands in it twice")
    if not nests:
        return Groups()
    if len({column for nest in nests for column in nest.columns}) > MAX_LEVELS:
        longest = max(nests, key=lambda nest: len(nest.columns))
        longest.where.refuse(
            f"more than {MAX_LEVELS} columns of groups are not supported. Leave one out, or use "
            f"PyMC or bambi"
        )
    distinct = _without_repeats(nests)
    chain = _chain(distinct)
    if chain is None:
        columns, nesting = crossed(distinct)
        return Groups(columns, (), () if nesting == parents_of((), len(columns)) else nesting)
    columns, varying = chain
    return Groups(columns, () if all(own.is_intercept for own in varying) else varying)


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
