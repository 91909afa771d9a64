"""Crossed groups of a formula: several nests, such as ``(1 | a/b) + (1 | c)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from hiermodels.core.names import ROOT
from hiermodels.model.formula.terms import quote
from hiermodels.model.formula.tokens import Token
from hiermodels.model.level import Varying
from hiermodels.model.nests import ELSEWHERE, Nesting

type Path = frozenset[str]
"""A column of groups and all those that it lies in."""


class Nest(NamedTuple):
    """Groups in one pair of parentheses: ``/`` or ``:``, their columns, and where they stand.

    And what varies between the groups of each.
    """

    sign: str
    columns: tuple[str, ...]
    where: Token
    varying: Varying


def crossed(nests: Sequence[Nest]) -> tuple[tuple[str, ...], Nesting]:
    """Columns, each after the one that it lies in, and the index of that one; ``ROOT`` if none.

    Raises
    ------
    SpecError
        If slopes vary, or if a column is nested in none, or in several, of the others.
    """
    paths = _paths(nests)
    parents = {path: _parent(path, nest, paths) for path, nest in paths.items()}
    columns: list[str] = []
    nesting: list[int] = []

    def add(path: Path, place: int) -> None:
        (column,) = path - (parents[path] or frozenset())
        if column in columns:
            _refuse_combination(paths[path])
        columns.append(column)
        nesting.append(place)
        own = len(columns) - 1
        for inner in (inner for inner, outer in parents.items() if outer == path):
            add(inner, own)

    for path in (path for path, outer in parents.items() if outer is None):
        add(path, ROOT)
    return tuple(columns), tuple(nesting)


def _paths(nests: Sequence[Nest]) -> dict[Path, Nest]:
    """Each column of groups with all that it lies in, and the term that names it."""
    paths: dict[Path, Nest] = {}
    for nest in nests:
        if not nest.varying.is_intercept:
            nest.where.refuse(
                f"slopes that vary between crossed groups are not supported. Write (1 | …) for "
                f"these groups, and the covariate outside the parentheses alone, {ELSEWHERE}"
            )
        sizes = range(1, len(nest.columns) + 1) if nest.sign == "/" else (len(nest.columns),)
        for path in (frozenset(nest.columns[:size]) for size in sizes):
            if path in paths:
                nest.where.refuse("these groups, or those that they lie in, are there twice")
            paths[path] = nest
    return paths


def _parent(path: Path, nest: Nest, paths: Mapping[Path, Nest]) -> Path | None:
    """The groups that some lie in; None for a column by itself."""
    if len(path) == 1:
        return None
    outer = [other for other in paths if other < path and len(other) == len(path) - 1]
    if not outer:
        nest.where.refuse(
            "this leaves out the outer level. Write (1 | school/class) for both levels; for the "
            "inner alone, make one column of the two labels"
        )
    if len(outer) > 1:
        _refuse_combination(nest)
    return outer[0]


def _refuse_combination(nest: Nest) -> NoReturn:
    """Raise SpecError of groups that lie in several others, and have no column of their own."""
    first, *others = (quote(column) for column in nest.columns)
    name = "_".join(nest.columns)
    made = "".join(f" + '/' + data[{column!r}].astype(str)" for column in nest.columns[1:])
    nest.where.refuse(
        f"these combinations of {' and '.join([first, *others])} stand beside others, and need a "
        f"column of their own. Make it, data[{name!r}] = data[{nest.columns[0]!r}].astype(str)"
        f"{made}, and write (1 | {quote(name)})"
    )
