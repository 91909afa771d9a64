"""The mode of the coefficients given τ, as a smooth curve in τ.

With normal or flat priors of the coefficients the log density

    f_τ(γ) + log p(γ),      f_τ as in :mod:`hiermodels.exact.glmm.integrals`,

is concave in γ (Prékopa 1973).  Its mode γ̂(τ), its height there, the information K_g of every
group, and a factor U of the covariance, ``U U' = (Σ_g K_g + P)⁻¹``, are computed at Chebyshev
points of ``log(τ² + s²)`` and interpolated between them; τ = 0 is one end of that range.

References
----------
Prékopa (1973), Acta Scientiarum Mathematicarum 34:335 (integrals of log-concave functions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import PrecisionError
from hiermodels.exact.glmm.modes import (
    ROUGHLY,
    CountModel,
    Mode,
    Modes,
    find_mode,
    scale_of_variance,
)
from hiermodels.numerics.chebyshev import lagrange_polynomials, unit_points

DROP = 30.0  # of the log density of log τ, where its range ends
SCAN = 2.0  # ratio of the values of τ that are tried
NODES = (12, 18, 27, 40, 60)  # Chebyshev points, until the interpolants are smooth
SMOOTH = 1e-5  # last coefficients of an interpolant
FARTHEST = 1e6  # τ, beyond which none is tried


@dataclass(frozen=True, eq=False)
class ModePath(Modes):
    """Modes at Chebyshev points, and what lies between them.

    Attributes
    ----------
    shift : float
        s² of the module's text.
    ends : (2,)
        Of ``log(τ² + s²)``, between which the points ascend; of no meaning where τ is fixed.
    smallest, largest : float
        Between which values of τ it is laid.
    """

    shift: float
    ends: tuple[float, float]
    smallest: float
    largest: float

    @classmethod
    def of(cls, model: CountModel, log_prior: Callable[[Floats], Floats], upper: float) -> Self:
        """Lay the curve over the values of τ that matter.

        Parameters
        ----------
        log_prior : callable
            Log prior density of log τ, at places (J,).
        upper : float
            Largest τ that the prior allows.
        """
        begin = find_mode(model, 0.0, model.mean, None)
        shift = scale_of_variance(model.rows, begin.gamma)
        smallest, tau = _range(model, begin, float(np.sqrt(shift)), log_prior, upper)
        ends = float(np.log(smallest**2 + shift)), float(np.log(tau**2 + shift))
        for n in NODES:
            modes = _modes_at(model, _taus(shift, ends, n), begin)
            path = cls(model, modes, shift, ends, smallest, tau)
            if path._is_smooth:
                return path
        raise PrecisionError(
            f"the mode of the coefficients is no smooth function of tau between {smallest:.3g} "
            f"and {tau:.3g}. Give tau a narrower prior, or use engine='nuts'"
        )

    @classmethod
    def at_one(cls, model: CountModel, tau: float) -> Self:
        """That of a τ that is fixed: one mode."""
        return cls(model, (find_mode(model, tau, model.mean, None),), 1.0, (0.0, 0.0), tau, tau)

    def weights(self, tau: Floats) -> Floats:
        """Lagrange's weights of the modes at values of τ (J,); (J, n)."""
        if len(self) == 1:
            return np.ones((len(tau), 1))
        low, high = self.ends
        place = (2 * np.log(tau**2 + self.shift) - low - high) / (high - low)
        return lagrange_polynomials(np.clip(place, -1.0, 1.0), len(self))

    @property
    def _is_smooth(self) -> bool:
        """Whether the last coefficients of what is interpolated by polynomials are small.

        Those of the log mass, of the factors, and of the modes in sds at the smallest τ.
        """
        modes = self.gamma / np.exp(self.log_sd[0])
        return all(
            _last(each) < SMOOTH for each in (self.log_mass, modes, self.log_sd, self.unit_rows)
        )


def _range(
    model: CountModel,
    begin: Mode,
    tau: float,
    log_prior: Callable[[Floats], Floats],
    upper: float,
) -> tuple[float, float]:
    """From where to where τ matters: from 0, unless the density has fallen enough before.

    Parameters
    ----------
    begin : Mode
        At τ = 0.
    tau : float
        The first other one that is tried.
    """
    last, taus, values = begin, [0.0], [-np.inf]
    while True:
        tau = min(tau, upper)
        last = find_mode(model, tau, last.gamma, None, ROUGHLY)
        taus.append(tau)
        values.append(float(log_prior(np.log([tau]))[0]) + last.log_mass)
        if tau >= upper or values[-1] < max(values) - DROP:
            break
        tau *= SCAN
        if tau > FARTHEST:
            raise PrecisionError(
                f"the posterior of tau reaches beyond {FARTHEST:g}, so far that its upper end was "
                f"not found. Give tau a narrower prior, such as HalfNormal(2)"
            )
    before = range(int(np.argmax(values)))
    low = [taus[k] for k in before if values[k] < max(values) - DROP]
    return low[-1], taus[-1]


def _last(values: Floats) -> float:
    """Largest of the last coefficients, in Chebyshev's polynomials, of values at points (n, …)."""
    from numpy.polynomial.chebyshev import chebfit

    n = len(values)
    coefficients = chebfit(unit_points(n), values.reshape(n, -1), n - 1)
    return float(np.abs(coefficients[-2:]).max())


def _taus(shift: float, ends: tuple[float, float], n: int) -> Floats:
    """Values of τ at n Chebyshev points of ``log(τ² + s²)``, ascending."""
    low, high = ends
    places = (low + high) / 2 + (high - low) / 2 * unit_points(n)
    return np.sqrt(np.maximum(np.exp(places) - shift, 0.0))


def _modes_at(model: CountModel, taus: Floats, begin: Mode) -> tuple[Mode, ...]:
    """Modes at ascending values of τ, each sought from the one before."""
    modes: list[Mode] = []
    gamma, start = begin.gamma, None
    for tau in taus.tolist():
        modes.append(find_mode(model, tau, gamma, start))
        gamma, start = modes[-1].gamma, modes[-1].expansion.middles.z
    return tuple(modes)
