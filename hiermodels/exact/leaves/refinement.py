"""Lattices that are laid ever finer, until two spacings agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import PrecisionError
from hiermodels.exact.precision import require_precision
from hiermodels.numerics.lattice import Lattice

SPACING = {0: 1.0, 1: 0.25, 2: 0.5, 3: 0.6, 4: 0.75, 5: 1.0}  # of the first lattice
SAFELY = {4: 1.0, 5: 1.0}  # of the tolerance, for the moments of sds and coefficients; else 0.1
MAX_LATTICES = 8
FINER = (0.6, 0.9)  # bounds of the ratio of one spacing to the next
MARGIN = 0.96  # of that ratio
WORTHWHILE = 0.95  # largest ratio for which another lattice is laid
MAX_WORK = 3e7  # points times the work of each, of a lattice that is laid to be finer
MAX_POINTS = 1 << 20


class OnLattice(Protocol):
    """A posterior on a lattice, which can tell how precise it is."""

    @property
    def lattice(self) -> Lattice:
        """The lattice."""

    @property
    def errors_by_axis(self) -> Floats:
        """Errors of what the lattice is over, in posterior sds; (d,)."""

    @property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds."""

    @property
    def work(self) -> int:
        """Number of integrals at each point."""


def refine[P: OnLattice](
    lay: Callable[[Floats], P],
    dimension: int,
    tol: float,
    first: Mapping[int, float | Floats] = SPACING,
) -> P:
    """Lay ever finer lattices until two spacings agree.

    Parameters
    ----------
    lay : callable
        From spacings (d,) to the posterior on a lattice.
    dimension : int
        d.
    tol : float
        Posterior sds that two spacings may differ by.
    first : mapping of int to float or (d,)
        Spacings of the first lattice by d, where they are not the usual ones.

    Raises
    ------
    PrecisionError
        If two spacings differ by more than 1e-3, or no lattice can hold the posterior.

    Warns
    -----
    PrecisionWarning
        If two spacings differ by more than ``tol``.
    """
    spacing = np.full(dimension, first.get(dimension, SPACING[dimension]))
    target = SAFELY.get(dimension, 0.1) * tol
    posterior = lay(spacing)
    for _ in range(MAX_LATTICES - 1):
        errors = posterior.errors_by_axis
        if errors.max(initial=0.0) <= target and posterior.certificate <= tol:
            break
        ratio = _affordable(_ratio(errors, target), posterior)
        if ratio.min() > WORTHWHILE:
            break
        spacing = spacing * ratio
        try:
            posterior = lay(spacing)
        except PrecisionError:  # too many points along an axis: as fine as it gets
            break
    require_precision(posterior.certificate, tol)
    return posterior


def _ratio(errors: Floats, target: float) -> Floats:
    """Ratios of the next spacings to the present ones, from their errors; (d,).

    As the Fourier transform of a normal density does, errors fall about as ``exp(−c/spacing²)``.
    """
    if errors.max(initial=0.0) <= target:  # the effects need what sds and coefficients do not
        return np.full(len(errors), FINER[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = MARGIN * np.sqrt(np.log(errors) / np.log(target))
    ratio = np.clip(np.nan_to_num(ratio, nan=0.0), *FINER)
    return np.where(errors <= target, 1.0, ratio)


def _affordable(ratio: Floats, posterior: OnLattice) -> Floats:
    """The same ratios, or ones nearer to 1, at which a lattice does not have too many points."""
    most = min(MAX_WORK / max(1, posterior.work), MAX_POINTS) / len(posterior.lattice)
    if ratio.prod() * most >= 1:
        return ratio
    return ratio ** (np.log(max(most, 1.0)) / -np.log(ratio.prod()))
