"""Counts of groups that lie in outer groups, and the mode of the coefficients over both sds.

The log density of the coefficients given κ and τ is concave, as smoothing by either effect keeps
that (Prékopa 1973).  So it does with ``|∂_δ K_h[w, w]| ≤ N_h K_h[w, w]``, N_h being the range with
0 of ``x_i'δ`` over all rows of an outer group: the bound along rays is that of outer groups.

*Why.*  Of a group w alone, as a function of the linear predictors η of its rows, the log integral
F over b obeys ``|D_h K[v, v]| ≤ N(h) K[v, v]``, has a curvature K with ``K1 ≥ 0`` and ``0 ≤ 1'K1 ≤
Y − 1'∇F``, and derivatives that grow at most exponentially along 1.  Sums over groups with rows of
their own obey the same, as N of a part is at most that of the whole.  These are all that smoothing
by the outer effect, along the 1 of all rows, takes for granted.

The modes are computed at a product of Chebyshev points of ``log(κ² + s²)`` and ``log(τ² + t²)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import PrecisionError
from hiermodels.exact.glmm.integrals import Expansion
from hiermodels.exact.glmm.modes import (
    ROUGHLY,
    CountModel,
    Mode,
    Modes,
    find_mode,
    scale_of_variance,
)
from hiermodels.exact.glmm.nested_integrals import expand, log_integrals
from hiermodels.exact.glmm.nested_rows import NestedRows
from hiermodels.exact.glmm.path import FARTHEST, SCAN
from hiermodels.exact.glmm.rows import CountRows
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed
from hiermodels.numerics.chebyshev import lagrange_polynomials, lagrange_shares, unit_points

DROP = 22.0  # of the log density of the log of an sd, where its range ends
NODES = (12, 16, 21, 28)  # Chebyshev points of one sd, until the interpolants are smooth
NEAR = 1e-9  # squared length of a step, in posterior sds, that ends the search for a mode
SMOOTH = 1e-3  # last coefficients of an interpolant of the log density: draws allow 5e-3


@dataclass(frozen=True, eq=False)
class NestedCountModel(CountModel):
    """The same of groups in outer groups; ``rows`` are those in the inner ones.

    Attributes
    ----------
    nested : NestedRows
    """

    nested: NestedRows = field(kw_only=True)

    @property
    def outermost(self) -> CountRows:
        """The rows in the outer groups."""
        return self.nested.whole

    def expand(self, sds: Any, gamma: Floats, start: Floats | None) -> Expansion[Any]:
        """The likelihood and its derivatives at sds (2,)."""
        return expand(self.nested, np.asarray(sds), gamma, start)

    def log_integrals(self, gamma: Floats, sds: Floats, middles: Any) -> Floats:
        """Log integrals of all outer groups at J settings; (H, J)."""
        return log_integrals(self.nested, self.rows.linear(gamma), sds, middles)

    def in_words(self, sds: Any) -> str:
        """Values of the sds."""
        return f"sds of {sds[0]:.3g} and {sds[1]:.3g}"


@dataclass(frozen=True)
class SdNodes:
    """Chebyshev points of ``log(sd² + shift)`` from 0 to the largest sd; one where it is fixed."""

    shift: float
    largest: float
    size: int

    @property
    def ends(self) -> tuple[float, float]:
        """Of the coordinate."""
        return float(np.log(self.shift)), float(np.log(self.largest**2 + self.shift))

    @property
    def sds(self) -> Floats:
        """Ascending; (size,)."""
        if self.size == 1:
            return np.array([self.largest])
        low, high = self.ends
        places = (low + high) / 2 + (high - low) / 2 * unit_points(self.size)
        return np.sqrt(np.maximum(np.exp(places) - self.shift, 0.0))

    def weights(self, sd: Floats) -> Floats:
        """Lagrange's weights at values (J,); (J, size)."""
        if self.size == 1:
            return np.ones((len(sd), 1))
        low, high = self.ends
        place = (2 * np.log(sd**2 + self.shift) - low - high) / (high - low)
        return lagrange_polynomials(np.clip(place, -1.0, 1.0), self.size)

    def finer(self) -> SdNodes:
        """More of them."""
        more = [n for n in NODES if n > self.size]
        if not more:
            raise PrecisionError(
                f"the mode of the coefficients is no smooth function of an sd between 0 and "
                f"{self.largest:.3g}. Give both sds narrower priors, or use engine='nuts'"
            )
        return SdNodes(self.shift, self.largest, more[0])


@dataclass(frozen=True, eq=False)
class ModeSurface(Modes):
    """Modes at a product of Chebyshev points, those of τ within those of κ.

    Attributes
    ----------
    axes : (2,)
        Of κ and of τ.
    """

    axes: tuple[SdNodes, SdNodes]

    @classmethod
    def of(cls, model: NestedCountModel, priors: Sequence[VariancePrior]) -> Self:
        """Lay it over the values of κ and τ that matter, or have fixed ones."""
        begin = find_mode(model, np.zeros(2), model.mean, None)
        axes = _Scan(model, priors, begin).axes()
        surface = cls(model, _modes_at(model, _points(axes), [begin]), axes)
        while rough := [i for i in (0, 1) if not surface.is_smooth(i)]:
            finer = [own.finer() if i in rough else own for i, own in enumerate(axes)]
            axes = finer[0], finer[1]
            surface = cls(model, surface.refined(axes), axes)
        return surface

    def refined(self, axes: tuple[SdNodes, SdNodes]) -> tuple[Mode, ...]:
        """Modes at other nodes, sought from where these have them."""
        points = _points(axes)
        weights = self.weights(points)
        z = self.near_middles(weights @ self.gamma, weights).z
        return tuple(
            find_mode(self.model, sds, own @ self.gamma, z[:, [i]], NEAR)
            for i, (sds, own) in enumerate(zip(points, weights, strict=True))
        )

    @property
    def largest(self) -> Floats:
        """Largest κ and τ; (2,)."""
        return np.array([own.largest for own in self.axes])

    def weights(self, sds: Floats) -> Floats:
        """Products of Lagrange's weights at values of κ and τ (J, 2); (J, n)."""
        first, second = (own.weights(sd) for own, sd in zip(self.axes, sds.T, strict=True))
        return np.asarray((first[:, :, None] * second[:, None]).reshape(len(sds), -1))

    def is_smooth(self, axis: int) -> bool:
        """Whether the last coefficients of the log mass in one sd are small at all of the other."""
        if self.axes[axis].size == 1:
            return True
        values = np.moveaxis(self.log_mass.reshape([own.size for own in self.axes]), axis, 0)
        coefficients = lagrange_shares(self.axes[axis].size).T @ values
        return bool(np.abs(coefficients[-2:]).max() < SMOOTH)


def _points(axes: tuple[SdNodes, SdNodes]) -> Floats:
    """All pairs of values of κ and τ; (n, 2)."""
    return np.array([(kappa, tau) for kappa in axes[0].sds for tau in axes[1].sds])


def _modes_at(model: NestedCountModel, points: Floats, begin: Sequence[Mode]) -> tuple[Mode, ...]:
    """Modes at values of κ and τ (n, 2), each sought from the nearest one that is known."""
    modes = list(begin)
    known = [np.zeros(2)] * len(modes)
    for sds in points:
        near = modes[int(np.argmin([np.abs(sds - other).sum() for other in known]))]
        modes.append(find_mode(model, sds, near.gamma, near.expansion.middles.z, NEAR))
        known.append(sds)
    return tuple(modes[len(begin) :])


@dataclass(frozen=True)
class _Scan:
    """Looks for how large the sds may be."""

    model: NestedCountModel
    priors: Sequence[VariancePrior]
    begin: Mode

    def axes(self) -> tuple[SdNodes, SdNodes]:
        """Of κ and of τ.

        How large one of them may be depends on the other: it is looked for at the other's best
        value, and at 0.
        """
        nested, gamma = self.model.nested, self.begin.gamma
        shifts = [scale_of_variance(rows, gamma) for rows in (nested.whole, nested.rows)]
        best = np.array([self._fixed(i, np.sqrt(shift)) for i, shift in enumerate(shifts)])
        largest = np.array(best)
        for axis in (0, 1, 0, 1):
            best[axis], largest[axis] = self._along(axis, best, shifts[axis])
        for axis in (0, 1):
            others = np.array(best)
            others[1 - axis] = self._fixed(1 - axis, 0.0)
            _, end = self._along(axis, others, shifts[axis])
            largest[axis] = max(largest[axis], end)
        sizes = [1 if isinstance(prior, Fixed) else NODES[0] for prior in self.priors]
        first, second = (SdNodes(*own) for own in zip(shifts, largest.tolist(), sizes, strict=True))
        return first, second

    def _fixed(self, axis: int, otherwise: float) -> float:
        prior = self.priors[axis]
        return prior.value if isinstance(prior, Fixed) else min(float(otherwise), prior.upper)

    def _along(self, axis: int, at: Floats, shift: float) -> tuple[float, float]:
        """Where one sd is most probable, the other being given, and how large it may be."""
        prior = self.priors[axis]
        if isinstance(prior, Fixed):
            return prior.value, prior.value
        sds, gamma, values, tried = np.array(at), self.begin.gamma, [], []
        sd = np.sqrt(shift)
        while sd < FARTHEST:
            sds[axis] = min(sd, prior.upper)
            mode = find_mode(self.model, sds, gamma, None, ROUGHLY)
            gamma = mode.gamma
            log_prior = float(prior.log_density_log_sd(np.log(sds[[axis]]))[0])
            values.append(log_prior + mode.log_mass)
            tried.append(float(sds[axis]))
            if sd >= prior.upper or values[-1] < max(values) - DROP:
                break
            sd *= SCAN
        return tried[int(np.argmax(values))], tried[-1]
