"""Many functions on a lattice's points, summed across all axes but one.

For each function the sums lie on a fine even grid along the axis, as those of the density itself do
in :meth:`~hiermodels.numerics.lattice.Lattice.cdf`: a point's value is shared out by Lagrange's
formula among the nearest places, which keeps its contribution to every smooth function.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.numerics.lagrange import lagrange_weights
from hiermodels.numerics.lattice import FINER, STENCIL, Lattice


def axis_projection(lattice: Lattice, axis: int) -> tuple[Floats, Any, Any]:
    """Places on an axis, and two matrices that take values at the points there.

    Returns
    -------
    places : (f,)
    spread : scipy.sparse.csc_array, (f, d)
        From the d coordinates that points have to the places.
    gather : scipy.sparse.csc_array, (d, n)
        From the points to their coordinates.
    """
    from scipy.sparse import csc_array

    fine = lattice.step[axis, axis] / FINER
    part = lattice.index[:, : axis + 1]  # on which alone the coordinate depends
    low, shape = part.min(axis=0), tuple(np.ptp(part, axis=0) + 1)
    keys = np.ravel_multi_index(tuple((part - low).T), shape)
    distinct, of_point = np.unique(keys, return_inverse=True)
    index = np.stack(np.unravel_index(distinct, shape), axis=1) + low
    x = lattice.origin[axis] + index @ lattice.step[axis, : axis + 1]
    place = (x - x.min()) / fine
    left = np.floor(place).astype(np.intp)
    shares = np.array(lagrange_weights(place - left, STENCIL))
    rows = left[:, None] + np.arange(2 * STENCIL)
    size, n = int(left.max()) + 2 * STENCIL, len(lattice)
    starts = 2 * STENCIL * np.arange(len(x) + 1)
    spread = csc_array((shares.T.ravel(), rows.ravel(), starts), shape=(size, len(x)))
    gather = csc_array((np.ones(n), of_point, np.arange(n + 1)), shape=(len(x), n))
    return x.min() + fine * (np.arange(size) - STENCIL + 1), spread, gather
