"""Totals of the counts of groups, which say all that their rows say of the model's parameters.

Counts of rows add up where these have one linear predictor: the same covariates within a group,
and the same offset (with a log link any offsets, which weight the exposures).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import compress
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import listed, short
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.data.roles import Roles
from hiermodels.errors import SpecError
from hiermodels.families.checks import OUTCOME
from hiermodels.families.family import Family
from hiermodels.families.totals import Counts, totals

OFFSET = "offset"
LOG_GIVEN = "log_given"  # log probability of a group's rows given their total
REMEDY = "Fit the rows themselves, in a data frame in memory"

type Totals = Mapping[str, Floats]
"""Of each innermost group: the outcome, columns of the family, offset and ``LOG_GIVEN``."""


class HasTotals(Protocol):
    """Statistics of groups."""

    @property
    def roles(self) -> Roles:
        """Which column is what."""

    @property
    def totals(self) -> Totals:
        """Totals of the groups; none of normal rows."""

    @property
    def covariates(self) -> Mapping[str, Floats]:
        """Those of each group, by their names; (g,) each."""


def totals_of(rows: GroupedRows) -> dict[str, Floats]:
    """Totals of each innermost group, by what they are, (g,) each; of normal rows none.

    Raises
    ------
    SpecError
        If the rows of some group do not add up.
    """
    roles, group, size = rows.roles, rows.group, rows.n_groups
    if not require_additive(roles):
        return {}
    offset = rows.columns.get(OFFSET, np.zeros(len(rows.y)))
    columns = zip(rows.design.names, rows.design.matrix.T, strict=True)
    differs = {name: varies(x, group, size) for name, x in columns}
    sizes = np.bincount(group, minlength=size)
    require_one_predictor(roles, sizes, differs, varies(offset, group, size), rows.labels[-1])
    every = Counts(rows.y, rows.columns, offset, np.zeros(len(rows.y)))
    return as_mapping(roles, totals(roles.family, every, group, size))


def as_mapping(roles: Roles, counts: Counts) -> dict[str, Floats]:
    """Totals by what they are."""
    given = {OFFSET: counts.offset} if OFFSET in roles.columns else {}
    return {OUTCOME: counts.y, **counts.columns, **given, LOG_GIVEN: counts.log_given}


def as_counts(family: Family, values: Totals) -> Counts:
    """Totals as their family takes them."""
    columns = {name: values[name] for name in family.columns}
    offset = values.get(OFFSET, np.zeros(len(values[OUTCOME])))
    return Counts(values[OUTCOME], columns, offset, values[LOG_GIVEN])


def in_one_unit(values: Totals) -> dict[str, Floats]:
    """Totals to be compared: exposures without an offset, which may be in either."""
    if "exposure" not in values or OFFSET not in values:
        return dict(values)
    others = {name: column for name, column in values.items() if name != OFFSET}
    return {**others, "exposure": values["exposure"] * np.exp(values[OFFSET])}


def totals_as_rows(data: GroupedData, values: Totals, x: Floats) -> GroupedRows:
    """A row for each innermost group, with its totals, its offset and its covariates x (g, q)."""
    columns = {name: column for name, column in values.items() if name not in (OUTCOME, LOG_GIVEN)}
    design, group = replace(data.design, matrix=x), np.arange(data.n_groups)
    nested = data.labels, data.own_labels, data.parents, data.dropped
    return GroupedRows(data.roles, values[OUTCOME], None, design, group, *nested, columns)


def added_totals(
    a: HasTotals, b: HasTotals, places: tuple[Indices, Indices], labels: NDArray[Any]
) -> dict[str, Floats]:
    """Totals of two parts of the data, as if their rows had been together.

    Parameters
    ----------
    a, b : HasTotals
    places : ((g₁,), (g₂,))
        Where the groups of each part are among those of both.
    labels : (g,)
        Of the groups of both.

    Raises
    ------
    SpecError
        If those of some group do not add up.
    """
    roles = a.roles
    if not require_additive(roles):
        return {}
    index, size = np.concatenate(places), len(labels)
    counts = as_counts(roles.family, _joined(a.totals, b.totals))
    covariates = _joined(a.covariates, b.covariates)
    differs = {name: varies(x, index, size) for name, x in covariates.items()}
    sizes = np.bincount(index, minlength=size)
    require_one_predictor(roles, sizes, differs, varies(counts.offset, index, size), labels)
    return as_mapping(roles, totals(roles.family, counts, index, size))


def _joined(a: Mapping[str, Floats], b: Mapping[str, Floats]) -> dict[str, Floats]:
    """Columns of one part after those of the other."""
    return {name: np.concatenate([a[name], b[name]]) for name in a}


def varies(values: Floats, group: Indices, size: int) -> NDArray[np.bool_]:
    """In which groups values (N,) differ; (size,)."""
    some = np.empty(size)
    some[group] = values
    return np.bincount(group, weights=values != some[group], minlength=size) > 0


def require_additive(roles: Roles) -> bool:
    """Whether rows have totals, as counts have and normal rows have not.

    Raises
    ------
    SpecError
        If nothing short of the rows says all that these say.
    """
    family = roles.family
    if "sd" in family.columns and family.name != "normal":
        _refuse(roles, "what rows say of a group is no function of sums over them")
    return family.is_discrete


def require_one_predictor(
    roles: Roles,
    sizes: Indices,
    differs: Mapping[str, NDArray[np.bool_]],
    offset_differs: NDArray[np.bool_],
    labels: NDArray[Any],
) -> None:
    """Raise SpecError if the counts of some group do not add up.

    Parameters
    ----------
    roles : Roles
    sizes : (g,)
        Number of rows of each innermost group.
    differs : mapping of str to (g,) of bool
        Of each covariate, in which groups it differs between rows.
    offset_differs : (g,) of bool
        The same of the offset.
    labels : (g,)
        Of the groups.
    """
    column, family = roles.groups[-1], roles.family
    if not family.additive and sizes.max() > 1:
        shared = int(np.argmax(sizes > 1))
        where = f"{sizes[shared]} rows of {column} {short(labels[shared])}"
        _refuse(roles, f"counts of several rows do not have the distribution of one; found {where}")
    named = [(f"covariate {name!r}", groups) for name, groups in differs.items()]
    if family.link != "log":  # where e^offset is a factor of the exposure
        named.append((f"offset {roles.columns.get(OFFSET)!r}", offset_differs))
    for what, groups in named:
        if groups.any():
            some = listed(list(compress(labels.tolist(), groups)))
            _refuse(roles, f"{what} differs between rows of one {column}: {some}")


def _refuse(roles: Roles, reason: str) -> NoReturn:
    """Raise SpecError: there are no totals."""
    raise SpecError(
        f"statistics: rows of the family {roles.family.name!r} do not add up: {reason}. {REMEDY}"
    )
