"""Exact draws of outer effects given both sds and the coefficients, by rejection from tangents.

Given these, effects a of different outer groups are independent, with the log-concave densities

    p(a_h | γ, κ, τ, y) ∝ N(a_h | 0, κ²) Π_w I_w(a_h),

I_w as in :mod:`hiermodels.exact.glmm.windows`.  Given them as well, effects of groups are drawn as
with one column of groups.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.seeds import stream
from hiermodels.core.threads import for_each
from hiermodels.exact.glmm.nested_integrals import Sums, gauss, pieces
from hiermodels.exact.glmm.nested_rows import NestedRows
from hiermodels.exact.glmm.rows import CountRows
from hiermodels.exact.glmm.windows import Windows, windows_of
from hiermodels.exact.kernels.leaves.tangents import ConcaveFunctions, draw_below_tangents

ROWS = 1 << 19  # of rows and settings whose modes are looked for at a time
VALUES = 1 << 21  # of groups, places and settings that are held at a time
ROUGHLY = 0.05  # sds, to which the modes are found
LEAST = 1e-12  # information of a group beside that of its prior


@dataclass(frozen=True, eq=False)
class _AtSettings:
    """``Σ_w log I_w(a)`` of one outer group at k settings.

    Attributes
    ----------
    tau, centre, information : (k,)
        τ, about where each lies, and the inverse square of about its width.
    """

    tau: Floats
    centre: Floats
    information: Floats

    def __len__(self) -> int:
        return len(self.tau)

    def take(self, settings: Indices) -> Self:
        """Some of them."""
        names = [own.name for own in fields(self) if own.name != "rows"]
        return replace(self, **{name: getattr(self, name)[settings] for name in names})


@dataclass(frozen=True, eq=False)
class OnPlaces(_AtSettings):
    """That from its rows at places of c.

    Attributes
    ----------
    likelihood : (k, w, C)
    top : (k,)
        What its logarithms are relative to, summed.
    c : (k, C)
    """

    likelihood: Floats
    top: Floats
    c: Floats

    def log_likelihood(self, theta: Floats) -> Floats:
        """At effects (k, K), up to a constant."""
        _, density = self._kernel(theta)
        return self._logs(self.likelihood @ density.swapaxes(1, 2))

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """The same, its slope, and minus its second derivative: by moments of ``c − a``."""
        away, density = self._kernel(theta)
        moments = (density, density * away, density * away**2)
        whole, first, second = (self.likelihood @ each.swapaxes(1, 2) for each in moments)
        mean, tau = first / whole, self.tau[:, None]
        rest = 1 - (second / whole - mean**2)
        return self._logs(whole), mean.sum(axis=1) / tau, rest.sum(axis=1) / tau**2

    def _kernel(self, theta: Floats) -> tuple[Floats, Floats]:
        """Distances of c from a in units of τ, and what is proportional to their density."""
        away = (self.c[:, None] - theta[..., None]) / self.tau[:, None, None]
        return away, np.exp(-0.5 * away**2)

    def _logs(self, integrals: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(integrals).sum(axis=1) + self.top[:, None])


@dataclass(frozen=True, eq=False)
class BySmallSd(_AtSettings):
    """That where τ is small: by Gauss's rule around each a.

    Attributes
    ----------
    rows : CountRows
        Of the outer group alone, m of them.
    eta : (k, m)
        Linear predictors without effects.
    """

    rows: CountRows
    eta: Floats

    def log_likelihood(self, theta: Floats) -> Floats:
        """At effects (k, K), up to a constant."""
        return self._weights(self._eta(theta))[0]

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """The same, its slope, and minus its second derivative."""
        eta = self._eta(theta)
        value, weight = self._weights(eta)
        mean, variance = self.rows.mean_and_variance(eta, slice(None))
        score = self.rows.total.reshape(-1, 1, 1, 1) - self.rows.sums(mean)
        middle = (weight * score).sum(axis=3)
        spread = (weight * (score - middle[..., None]) ** 2).sum(axis=3)
        information = (weight * self.rows.sums(variance)).sum(axis=3) - spread
        return value, middle.sum(axis=0), information.sum(axis=0)

    def _eta(self, theta: Floats) -> Floats:
        """Linear predictors at the rule's places; (m, k, K, Z)."""
        place = theta[..., None] + self.tau[:, None, None] * gauss()[0]
        return self.eta.T[:, :, None, None] + place

    def _weights(self, eta: Floats) -> tuple[Floats, Floats]:
        """``Σ_w log I_w`` (k, K), and weights of the rule's places (w, k, K, Z)."""
        logs = self.rows.sums(self.rows.log_likelihood(eta, np.arange(len(eta))))
        top = logs.max(axis=3, keepdims=True)
        mass = np.exp(logs - top) * gauss()[1]
        total = mass.sum(axis=3, keepdims=True)
        return (np.log(total) + top)[..., 0].sum(axis=0), mass / total


@one_blas_thread()
def draw_outer_effects(
    nested: NestedRows, gamma: Floats, sds: Floats, seed: np.random.SeedSequence
) -> Floats:
    """Draw the effects of all outer groups, once for each setting; (H, J).

    Parameters
    ----------
    nested : NestedRows
    gamma : (J, p)
    sds : (J, 2)
        κ and τ.
    seed : numpy.random.SeedSequence
    """
    drawn = np.empty((nested.n_outer, len(sds)))
    step = max(1, ROWS // len(nested.rows.y))
    parts = [slice(start, start + step) for start in range(0, len(sds), step)]

    def draw(number: int) -> None:
        eta, both = nested.rows.linear(gamma[parts[number]]), sds[parts[number]]
        at = windows_of(nested, eta, both, near=ROUGHLY)
        own = np.empty((nested.n_outer, len(both)))
        for piece, (some, sums) in enumerate(pieces(nested, eta, both, at, VALUES)):
            kappa = both[some, :1]
            for outer in range(nested.n_outer):
                functions = _functions(sums, eta[:, some], at.take(some), outer)
                rng = stream(seed, number, piece, outer)
                values = draw_below_tangents(functions, np.zeros_like(kappa), kappa, rng)
                own[outer, some] = values[:, 0]
        drawn[:, parts[number]] = own

    for_each(draw, range(len(parts)))
    return drawn


def _functions(sums: Sums, eta: Floats, at: Windows, outer: int) -> ConcaveFunctions:
    """Those of one outer group, which lie where normal ones of the same curvature would."""
    nested, (kappa, tau) = sums.nested, sums.places.sds.T
    curvature = np.maximum(at.root[outer] ** 2 - 1, LEAST)
    centre = kappa * at.z[outer] * (1 + 1 / curvature)
    information = curvature / np.maximum(kappa, np.sqrt(LEAST)) ** 2
    own = nested.members(outer)
    if not sums.places.is_small:
        likelihood = sums.likelihood[own].swapaxes(0, 1)
        top = sums.top[own].sum(axis=0)
        return OnPlaces(tau, centre, information, likelihood, top, sums.places.c[outer])
    first = nested.rows.first[own]
    index = np.arange(first[0], first[-1] + nested.rows.sizes[own][-1])
    rows = nested.rows.take(index, first - first[0])
    return BySmallSd(tau, centre, information, rows, eta[index].T)
