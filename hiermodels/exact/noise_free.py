"""The posterior without Monte Carlo error: in closed form, or by quadrature."""

from __future__ import annotations

from weakref import WeakValueDictionary

from hiermodels.core.options import real_number
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.block_reference import BlockReference, integrated
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.conjugate import ConjugatePosterior
from hiermodels.exact.crossed_reference import CrossedReference
from hiermodels.exact.glmm_data import takes_rows
from hiermodels.exact.glmm_reference import GlmmReference, is_summed_at_random
from hiermodels.exact.leaf_reference import LeafReference
from hiermodels.exact.regression import RegressionPosterior
from hiermodels.model.spec import Spec
from hiermodels.posterior.precision import MIN_TOLERANCE, TOLERANCE, WORST
from hiermodels.posterior.reference_posterior import ReferencePosterior

_LATEST: list[ReferencePosterior] = []  # the last one that took seconds
_IN_USE: WeakValueDictionary[tuple[int, int, float], ReferencePosterior] = WeakValueDictionary()


def reference_posterior(
    spec: Spec, data: GroupedData, tol: float = TOLERANCE
) -> ReferencePosterior:
    """Compute the posterior of a specification: in closed form, or by quadrature.

    As long as one is in use it is handed out to all who ask for that of the same objects, such as
    the pictures of a report.  One that warned is computed anew, and warns again; but for one that
    takes seconds, of which the last is kept.

    Parameters
    ----------
    spec, data
    tol : float
        Posterior sds that two spacings of a quadrature may differ by.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    PrecisionError
        If two spacings of the quadrature differ by more than 1e-3 posterior sds, or rounding errors
        exceed it.

    Warns
    -----
    PrecisionWarning
        If either is more than ``tol``.
    """
    if not MIN_TOLERANCE <= real_number("tol", tol) <= WORST:
        raise SpecError(
            f"tol: expected posterior sds between {MIN_TOLERANCE:g} and {WORST:g}; found {tol!r}"
        )
    key = id(spec), id(data), tol
    found = _IN_USE.get(key)
    if found is None or found.spec is not spec or found.data is not data:
        found = _computed(spec, data, tol)
        if _takes_seconds(found):
            _LATEST[:] = [found]
        if found.certificate <= tol or _takes_seconds(found):
            _IN_USE[key] = found
    return found


def has_monte_carlo_error(spec: Spec, data: GroupedData) -> bool:
    """Whether the posterior is not free of it: of counts with many coefficients."""
    return not spec.is_normal and takes_rows(spec, data) and is_summed_at_random(spec, data)


def _takes_seconds(found: ReferencePosterior) -> bool:
    """Whether it is over weighted points, or over pairs of two lattices."""
    is_pairs = isinstance(found, BlockReference) and isinstance(found.lattice, PairNodes)
    return is_pairs or isinstance(found, GlmmReference)


def _computed(spec: Spec, data: GroupedData, tol: float) -> ReferencePosterior:
    if spec.is_crossed:
        return CrossedReference.of(spec, data, tol)
    if not spec.is_normal:
        of = GlmmReference if takes_rows(spec, data) else LeafReference
        return of.of(spec, data, tol)
    if spec.groups:
        return integrated(spec, data, tol)
    return (RegressionPosterior if spec.is_regression else ConjugatePosterior).of(spec, data)
