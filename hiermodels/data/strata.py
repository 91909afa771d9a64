"""Strata: a column of labels whose rows have a residual sd for each label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import listed, short
from hiermodels.data.frame import Frame
from hiermodels.data.labels import places_of
from hiermodels.data.roles import Roles
from hiermodels.errors import DataError
from hiermodels.families.normal import STRATA

type Labels = NDArray[Any]


def read_strata(frame: Frame, roles: Roles) -> tuple[Labels, dict[str, Floats]]:
    """Labels of the strata in the order in which they appear, and each row's as a column of codes.

    Nothing where no column names strata.
    """
    if STRATA not in roles.columns:
        return np.array([]), {}
    labels = frame.labels(roles.columns[STRATA])
    code, strata = pd.factorize(labels)
    strata = np.asarray(strata)
    strata = strata if strata.dtype.kind in "iu" else strata.astype(str)
    return strata, {STRATA: code.astype(float)}


def check_strata(frame: Frame, roles: Roles, strata: Labels, code: Floats) -> None:
    """Raise DataError where a residual sd for each stratum cannot be learnt, or is nothing new."""
    name = roles.columns[STRATA]
    if len(strata) < 2:
        raise DataError(
            f"residual_by: column {name!r} has the one label {short(strata[0])} in all rows, so "
            f"that a residual sd for each is a single sigma. Leave residual_by out"
        )
    count = np.bincount(code.astype(np.intp))
    alone = np.flatnonzero(count < 2)
    if len(alone):
        rows = np.flatnonzero(np.isin(code, alone))
        raise DataError(
            f"residual_by: expected two rows or more in each stratum of {name!r}; found one of "
            f"{listed([str(strata[k]) for k in alone])}, in {frame.show_rows(rows)}. Join strata "
            f"in a column of your own, or leave such rows out"
        )


def read_new_strata(frame: Frame, name: str, strata: Labels) -> Floats:
    """Codes of new rows' strata.

    Raises
    ------
    DataError
        If there are others than those that were fitted.
    """
    given = frame.labels(name)
    code = places_of(strata, given.tolist())
    unknown = np.flatnonzero(code < 0)
    if len(unknown):
        raise DataError(
            f"column {name!r}: {short(given[unknown[0]])} in {frame.show_rows(unknown)} is none of "
            f"the strata that were fitted, {listed([str(label) for label in strata])}. A stratum "
            f"that was not seen has no residual sd; write these rows' as one of them, or say "
            f"outcomes=False"
        )
    return code.astype(float)


def strata_of(columns: Mapping[str, Floats]) -> Indices:
    """Each row's stratum, of the columns of rows by what they are."""
    return columns[STRATA].astype(np.intp)
