"""Where the integrals of nested groups lie.

With an outer effect ``a = κz`` the rows of a group w, its own effect b integrated out, say

    I_w(a) = ∫ exp L_w(c) N(c | a, τ²) dc,    c = a + b,    L_w(c) = Σ_{i∈w} v_i(o_i + x_i'γ + c).

All groups of an outer one share places c.  These have to reach as far as c may lie given any a that
matters, and to be as near to one another as the narrowest of these laws needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.glmm.integrals import ASIDE, FARTHEST_STEP, XTOL, climb, middles_of
from hiermodels.exact.glmm.nested_rows import NestedRows

REACH = 8.8  # sds of z, to either side of its mode
DROP = 32.0  # of a log density of c, where its places end
WIDER = 1.3  # distances from a mode that are tried
MAX_WIDER = 40
LONGEST = 8.0  # τ, where the prior of c alone has dropped so far
MARGIN = 1.05  # of distances and curvatures, for what lies between those that were looked at


@dataclass(frozen=True)
class Windows:
    """Where the integrands of H outer groups lie at J settings; (H, J) each.

    Attributes
    ----------
    z, root
        Modes of z, other effects at theirs, and inverse widths.
    below, above
        Distances from κz to the lowest and the highest c.
    information
        Largest curvature of ``−L_w`` where c may lie.
    steepest, sharpest
        Largest slope of ``L_w``, and largest curvature, at any a itself.
    """

    z: Floats
    root: Floats
    below: Floats
    above: Floats
    information: Floats
    steepest: Floats
    sharpest: Floats

    def moved(self, by: Floats) -> Self:
        """With modes elsewhere."""
        return replace(self, z=self.z + by)

    def take(self, some: Indices | Flags) -> Self:
        """At some of the settings."""
        return type(self)(*(values[:, some] for values in vars(self).values()))


@dataclass(frozen=True)
class _Profile:
    """The log integrands of z at their highest in all b.

    Attributes
    ----------
    a : (H, J)
    c : (W, J)
        Where these are highest.
    width : (W, J)
        Least sd of c given a.
    slope, curvature : (H, J)
        Of the profile in z; minus the second derivative.
    start : (W, J)
        Modes of the groups' integrands, in units of τ.
    """

    a: Floats
    c: Floats
    width: Floats
    slope: Floats
    curvature: Floats
    start: Floats


def _profile(
    nested: NestedRows, eta: Floats, sds: Floats, z: Floats, start: Floats | None
) -> _Profile:
    """At places z (H, J)."""
    kappa, tau = sds.T
    rows, a = nested.rows, kappa * z
    inner = middles_of(rows, eta + a[nested.of_row], tau, start)
    c = a[nested.outer] + tau * inner.z
    score, information = score_and_information(nested, eta, c)
    slope = kappa * nested.sums(score) - z
    curvature = 1 + kappa**2 * nested.sums(information / (1 + tau**2 * information))
    return _Profile(a, c, tau / inner.root, slope, curvature, inner.z)


def score_and_information(nested: NestedRows, eta: Floats, c: Floats) -> tuple[Floats, Floats]:
    """First and minus the second derivative of ``L_w`` at c (W, J); (W, J) each."""
    mean, variance = nested.rows.sums_of_moments(eta, c)
    return nested.rows.total[:, None] - mean, variance


def windows_of(
    nested: NestedRows, eta: Floats, sds: Floats, start: Floats | None = None, near: float = XTOL
) -> Windows:
    """Look for the windows.

    Parameters
    ----------
    eta : (N, J)
        Linear predictors without effects.
    sds : (J, 2)
        κ and τ.
    start : (H, J), optional
        Where to begin the search for the modes z.
    near : float
        As in :func:`hiermodels.exact.glmm.integrals.middles_of`.
    """
    of_groups: Floats | None = None

    def expansion(z: Floats) -> tuple[Floats, Floats]:
        nonlocal of_groups
        here = _profile(nested, eta, sds, z, of_groups)
        of_groups = here.start
        return here.slope, here.curvature

    begin = np.zeros((nested.n_outer, len(sds))) if start is None else start
    z = climb(expansion, begin, FARTHEST_STEP / np.maximum(1.0, sds[:, 0]), near)
    middle = _profile(nested, eta, sds, z, of_groups)
    away = ASIDE / np.sqrt(middle.curvature)
    beside = [_profile(nested, eta, sds, z + side * away, middle.start) for side in (-1, 1)]
    root = np.sqrt(np.max([middle.curvature, *(one.curvature for one in beside)], axis=0))
    ends = [_profile(nested, eta, sds, z + side * REACH / root, middle.start) for side in (-1, 1)]
    lowest, highest = (
        _reach(nested, eta, sds, end, side) for end, side in zip(ends, (-1, 1), strict=True)
    )
    a = middle.a[nested.outer]
    below, above = nested.largest(a - lowest), nested.largest(highest - a)
    largest = [_largest(nested, eta, one) for one in (middle, *ends)]
    slopes = [score_and_information(nested, eta, one.a[nested.outer]) for one in ends]
    steepest = nested.largest(np.max(np.abs([score for score, _ in slopes]), axis=0))
    sharpest = nested.largest(np.maximum(*(information for _, information in slopes)))
    wider = (below, above, np.max(largest, axis=0), steepest, sharpest)
    return Windows(z, root, *(MARGIN * values for values in wider))


def _largest(nested: NestedRows, eta: Floats, one: _Profile) -> Floats:
    """The largest curvature at modes of c and beside them; (H, J)."""
    places = [one.c + side * ASIDE * one.width for side in (-1, 0, 1)]
    each = [score_and_information(nested, eta, c)[1] for c in places]
    return nested.largest(np.max(each, axis=0))


def _reach(nested: NestedRows, eta: Floats, sds: Floats, end: _Profile, side: int) -> Floats:
    """How far c reaches to one side, given an a at the end of its range; (W, J)."""
    rows, tau, a = nested.rows, sds[:, 1], end.a[nested.outer]
    every = np.arange(len(rows.y))

    def value(c: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            prior = np.where(tau > 0, 0.5 * ((c - a) / tau) ** 2, 0.0)
        return rows.sums(rows.log_likelihood(eta + c[rows.group], every)) - prior

    top, away = value(end.c), np.minimum(REACH * end.width, LONGEST * tau)
    for _ in range(MAX_WIDER):
        near = (top - value(end.c + side * away) < DROP) & (away < LONGEST * tau)
        if not near.any():
            break
        away = np.where(near, np.minimum(WIDER * away, LONGEST * tau), away)
    return end.c + side * away


def inner_modes(nested: NestedRows, eta: Floats, sds: Floats, at: Windows) -> Floats:
    """Modes of c given the modes of z; (W, J)."""
    return _profile(nested, eta, sds, at.z, None).c
