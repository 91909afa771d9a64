"""Distribution functions of linear predictors ``x'γ``.

At each τ the coefficients stand on a lattice in t, and ``x'γ = x'b + Σ_q (C'x)_q 3 sinh(t_q/3)``
widens in its tails.  Its transform

    v = 3 arcsinh((x'γ − x'b)/(3c)),    c = |C'x|,

is about as smooth in t as t itself, with slopes of about 1 everywhere.  So the density of v given τ
is band-limited as that of t is: with h the spacing of the lattice across v,

    F(z) = Σ_j W_j (½ + Si(π(v_τ(z) − v_j)/h)/π).

With H the lattice's steps, v rises by ``(H'u)_q`` along its q-th axis, u = C'x/c.  Frequencies of v
up to π/h with ``h = max_q |(H'u)_q|`` are nearer to 0 than to any that the lattice cannot tell
from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.errors import SpecError
from hiermodels.exact.leaves.coordinates import LINEAR, Whitening
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.numerics.inversion import quantiles
from hiermodels.numerics.lagrange import lagrange_weights

NEGLIGIBLE = 1e-18  # weight of a node, of all
XTOL = 1e-13  # of a quantile, in about sds
BLENDED = 1.6  # spacings of the linear predictor, beyond which normal densities blend
HERMITE = {0.02: 4, 0.25: 8, 1.0: 16, 2.0: 32}  # places z, for τ up to so many spacings
REACH = 9.0  # τ
LOWEST = -345.0  # log of a density: products of denormal numbers are slow
CLOSE = 1e-4  # spacings, at which a sinc is taken as a whole
GATHERED = 2  # coefficients, from which on so many nodes share a τ that few places stand for them
FINER = 4  # places for each spacing of the nodes
STENCIL = 5  # half the number of places that a weight is shared out among
MAX_NUMBERS = 1 << 20  # that are held at a time


@dataclass(frozen=True, eq=False)
class LinearLaw:
    """The posterior of ``x'γ``.

    Attributes
    ----------
    weight, tau, mu, v, spacing, b, c : (J,)
        Of each node: its weight, τ, the linear predictor and its transform, the spacing across the
        transform, and what the transform is made with.  Where many nodes of a lattice share a τ,
        fewer places of v stand for them.
    """

    weight: Floats
    tau: Floats
    mu: Floats
    v: Floats
    spacing: Floats
    b: Floats
    c: Floats

    @classmethod
    def of(cls, posterior: LeafPosterior, x: Floats) -> Self:
        """Make the law of ``x'γ`` for covariates (p,), of nodes that are not negligible."""
        kept = np.flatnonzero(posterior.lattice.weights > NEGLIGIBLE)
        coordinates, tau = posterior.marginal.coordinates, posterior.tau[kept]
        sds, whitening = coordinates.n_sds, coordinates.whitening(tau)
        weight, step = posterior.lattice.weights[kept], posterior.lattice.step[sds:, sds:]
        law = cls.at_nodes(weight, tau, posterior.gamma[kept], whitening, step, x)
        return law if len(x) < GATHERED else law._gathered()

    @classmethod
    def at_nodes(
        cls,
        weight: Floats,
        sd: Floats,
        gamma: Floats,
        whitening: Whitening,
        step: Floats,
        x: Floats,
    ) -> Self:
        """Make the law of ``x'γ`` of nodes.

        Parameters
        ----------
        weight, sd : (J,)
            Their weights, and sds of effects around ``x'γ``.
        gamma : (J, p)
        whitening : Whitening
            Of the coefficients at each node.
        step : (p, p)
            Of the lattice along the coordinates of the coefficients.
        x : (p,)
        """
        direction = np.einsum("p,jpq->jq", x, whitening.c)
        c, b, mu = np.linalg.norm(direction, axis=1), whitening.b @ x, gamma @ x
        some = np.maximum(c, np.finfo(float).tiny)
        spacing = np.abs(direction / some[:, None] @ step).max(axis=1, initial=0.0)
        v = LINEAR * np.arcsinh((mu - b) / (LINEAR * some))
        return cls(weight, sd, mu, v, spacing, b, c)

    def _gathered(self) -> Self:
        """Share the weights out to even places of v on each line, finer than the nodes' spacing.

        By Lagrange's formula, so that sums of smooth functions of v keep their values.
        """
        tau, at, line = np.unique(self.tau, return_index=True, return_inverse=True)
        b, c, spacing = self.b[at], self.c[at], self.spacing[at]
        fine = np.maximum(spacing / FINER, np.finfo(float).tiny)
        place = self.v / fine[line]
        left = np.floor(place).astype(np.intp)
        low = np.full(len(tau), np.iinfo(np.intp).max)
        np.minimum.at(low, line, left)
        size = int((left - low[line]).max()) + 2 * STENCIL
        weight = np.zeros(len(tau) * size)
        for i, share in enumerate(lagrange_weights(place - left, STENCIL)):
            cell = line * size + left - low[line] + i
            weight += np.bincount(cell, share * self.weight, len(weight))
        seen = np.flatnonzero(np.abs(weight) > NEGLIGIBLE)
        row, number = np.divmod(seen, size)
        v = fine[row] * (low[row] + number + 1 - STENCIL)
        mu = b[row] + c[row] * LINEAR * np.sinh(v / LINEAR)
        return type(self)(weight[seen], tau[row], mu, v, spacing[row], b[row], c[row])

    def place(self, z: Floats) -> tuple[Floats, Floats]:
        """Transforms of places (…, 1) or (…, J) at each node's τ, and their slopes; (…, J)."""
        at = (z - self.b) / (LINEAR * self.c)
        return LINEAR * np.arcsinh(at), 1 / (self.c * np.sqrt(1 + at**2))

    def cdf(self, values: Floats) -> Floats:
        """Probability that ``x'γ`` is at most each of the values; of their shape."""
        from scipy.special import sici

        def below(z: Floats) -> Floats:
            steps = (self.place(z)[0] - self.v) / self.spacing
            return (0.5 + sici(np.pi * steps)[0] / np.pi) @ self.weight

        return self._in_parts(below, values)

    def density(self, values: Floats) -> Floats:
        """Density of ``x'γ``; of the values' shape.  It is cut at 0 in the tails."""

        def density(z: Floats) -> Floats:
            at, slope = self.place(z)
            return np.sinc((at - self.v) / self.spacing) * slope / self.spacing @ self.weight

        return np.maximum(self._in_parts(density, values), 0.0)

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles; (p,).  They are looked for on the scale of the heaviest node's transform."""
        best = int(np.argmax(self.weight))
        b, scale = self.b[best], LINEAR * self.c[best]
        w = np.arcsinh((self.mu - b) / scale)
        ends = float(w.min()) - 1, float(w.max()) + 1

        def law(w: Floats) -> tuple[Floats, Floats]:
            x = b + scale * np.sinh(w)
            return self.cdf(x), self.density(x) * scale * np.cosh(w)

        return b + scale * np.sinh(quantiles(law, probabilities, ends, XTOL * LINEAR))

    def _in_parts(self, function: Callable[[Floats], Floats], values: Floats) -> Floats:
        if not self.c.all():
            raise SpecError("a linear predictor whose covariates are all 0 is 0, without a density")
        flat = np.ravel(values)[:, None]
        step = max(1, MAX_NUMBERS // len(self.weight))
        parts = [function(flat[i : i + step]) for i in range(0, len(flat), step)]
        return np.concatenate([np.empty(0), *parts]).reshape(np.shape(values))

    @property
    def is_comb(self) -> NDArray[np.bool_]:
        """Whether normal densities with sd τ around nodes would stand apart, not blend; (J,)."""
        return self.tau < BLENDED * self.spacing * self._slope

    @cached_property
    def _slope(self) -> Floats:
        """Change of ``x'γ`` with its transform where the mass at a node's τ lies; (J,)."""
        _, line = np.unique(self.tau, return_inverse=True)
        mass = np.maximum(np.bincount(line, self.weight), np.finfo(float).tiny)
        middle = np.bincount(line, self.weight * self.v) / mass
        farthest = np.abs(self.v).max(initial=0.0)
        return self.c * np.cosh(np.clip(middle, -farthest, farthest) / LINEAR)[line]

    def columns(self, theta: Floats) -> Floats:
        """What each node's density of an effect, ``N(θ | μ_j, τ_j²)``, stands for; (K, J).

        At each τ the sum over nodes is an integral over μ.  Where it would be a comb, a node has
        instead ``E_z[sinc((v(θ + τz) − v_j)/h)/h · dv/dμ]`` with a standard normal z.
        """
        columns, is_comb = np.zeros((len(theta), len(self.tau))), self.is_comb
        for tau in np.unique(self.tau):
            nodes = np.flatnonzero(self.tau == tau)
            ends = self.mu[nodes].min() - REACH * tau, self.mu[nodes].max() + REACH * tau
            near = np.flatnonzero((theta > ends[0]) & (theta < ends[1]))
            if is_comb[nodes[0]]:
                columns[np.ix_(near, nodes)] = self._smoothed(theta[near], nodes)
            else:
                columns[np.ix_(near, nodes)] = self._normal(theta[near], nodes)
        return columns

    def _normal(self, theta: Floats, line: Indices) -> Floats:
        """Normal densities around nodes that share a τ."""
        tau = self.tau[line[0]]
        exponent = (theta / tau)[:, None] - self.mu[line] / tau
        np.square(exponent, out=exponent)
        exponent *= -0.5
        np.maximum(exponent, LOWEST, out=exponent)
        return np.exp(exponent, out=exponent) * (np.exp(-0.5 * LOG_2PI) / tau)

    def _smoothed(self, theta: Floats, line: Indices) -> Floats:
        """The columns of nodes that share a narrow τ.

        Of a sinc only the reciprocal of its argument takes both place and node: the sine is that of
        a difference.
        """
        tau, h = self.tau[line[0]], self.spacing[line[0]]
        z, weight = hermite_rule(float(tau / (h * self._slope[line[0]])))
        at, slope = self.part(line[:1]).place(theta[:, None] + tau * z)
        away = (at[:, :, None] - self.v[line]) / h
        close = np.nonzero(np.abs(away) < CLOSE)
        near = np.sinc(away[close])
        away[close] = np.inf
        reciprocal = 1 / (np.pi * away)
        share = weight * slope / h
        angle, own = np.pi * at / h, np.pi * self.v[line] / h
        even, odd = share * np.sin(angle), share * np.cos(angle)
        smoothed = np.einsum("kz,kzj->kj", even, reciprocal) * np.cos(own)
        smoothed -= np.einsum("kz,kzj->kj", odd, reciprocal) * np.sin(own)
        np.add.at(smoothed, (close[0], close[2]), share[close[0], close[1]] * near)
        return smoothed

    def part(self, some: Indices) -> Self:
        """Some of the nodes."""
        arrays = (getattr(self, field.name)[some] for field in fields(self))
        return type(self)(*arrays)


def hermite_rule(width: float) -> tuple[Floats, Floats]:
    """Places z and weights of an expectation over a standard normal variable.

    Of a function that is band-limited to the spacing of nodes, of which one sd is ``width``.
    """
    size = next((n for most, n in HERMITE.items() if width <= most), max(HERMITE.values()))
    return _hermite_rule(size)


@cache
def _hermite_rule(size: int) -> tuple[Floats, Floats]:
    z, weight = np.polynomial.hermite_e.hermegauss(size)
    return z, weight / weight.sum()
