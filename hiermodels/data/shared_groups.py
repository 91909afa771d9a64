"""Groups that nobody named, of rows that each have a standard error of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hiermodels.core.arrays import Indices
from hiermodels.core.messages import short
from hiermodels.data.nesting import GroupLevel
from hiermodels.data.roles import Roles
from hiermodels.errors import DataError


def check_shared(
    roles: Roles, levels: Sequence[GroupLevel], sizes: Indices, show_rows: Callable[[int], str]
) -> None:
    """Raise DataError if nobody named groups of several rows, and each row has a standard error.

    Parameters
    ----------
    roles : Roles
    levels : sequence of GroupLevel
        The outermost first.
    sizes : (g,)
        Number of rows of each innermost group.
    show_rows : callable
        Writes out the rows of a group.
    """
    alone = roles.se and roles.sampling is None
    if alone and "groups" in roles.inferred and sizes.max() > 1:
        shared = int(np.argmax(sizes > 1))
        raise DataError(
            f"column {roles.groups[-1]!r}: label {short(levels[-1].labels[shared])} stands in "
            f"{show_rows(shared)}, and each row has a standard error of its own. If these are "
            f"several measurements of one group, say groups={list(roles.groups)}; if not, "
            f"give each its own label"
        )
