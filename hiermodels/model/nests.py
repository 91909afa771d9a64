"""Which columns of groups lie in which others: one nest, or several, which are crossed."""

from __future__ import annotations

from collections.abc import Sequence

from hiermodels.core.names import ROOT

type Nesting = tuple[int, ...]
"""Of each column of groups, the index of the one that it is nested in, or ``ROOT``."""

ELSEWHERE = "or write this model in PyMC or bambi"


def parents_of(nesting: Nesting, count: int) -> Nesting:
    """Index of the column that each of some columns lies in; ``ROOT`` for the outermost ones.

    Without a nesting each lies in the one before it.
    """
    return nesting or tuple(range(ROOT, count - 1))


def pairs_of(nesting: Nesting, count: int) -> list[tuple[int, int]]:
    """Indices of columns, each after that of the column that it lies in."""
    return [(o, i) for i, o in enumerate(parents_of(nesting, count)) if o != ROOT]


def lineages_of(nesting: Nesting, count: int) -> tuple[tuple[int, ...], ...]:
    """Indices of each column and of those that it lies in, from the inner to the outer one."""
    found: list[tuple[int, ...]] = []
    for own, outer in enumerate(parents_of(nesting, count)):
        found.append((own, *(found[outer] if outer != ROOT else ())))
    return tuple(found)


def nested_columns(columns: Sequence[str], nesting: Nesting) -> list[tuple[str, ...]]:
    """Each column with those that it lies in, the outermost first; a tuple for each column."""
    lineages = lineages_of(nesting, len(columns))
    return [tuple(columns[own] for own in reversed(lineage)) for lineage in lineages]


def describe_groups(columns: Sequence[str], nesting: Nesting) -> str:
    """Columns as they lie in one another: ``school/class``, or ``plate + sample`` if crossed."""
    paths = nested_columns(columns, nesting)
    inside = {path[:-1] for path in paths}
    return " + ".join("/".join(path) for path in paths if path not in inside)
