"""Functions of the covariances that the posterior's summaries are means of, of a few members.

Between points of a lattice that hold all these, the others of their kind are interpolated as well
(:mod:`hiermodels.numerics.interpolation_nodes`): means and covariances of effects and coefficients,
distribution functions, moments and densities of sds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.pairs import PairMarginal
from hiermodels.exact.blocks.residual_scale import ScaleLaw
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.kernels.blocks.downward import downward
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.upward import Below

PROBES = 12  # members of each level
MAX_NODES = 2048  # that are held at a time
ASIDE = (-1.5, 1.5)  # standard deviations from the mean, where distribution functions are taken
PLACES = (-2.4, -1.2, 0.0, 1.2, 2.4)  # of log σ, in its standard deviations

type Laws = list[tuple[Floats, Floats]]
"""Means (k, n) and covariances (k, k, n) of vectors of k numbers at n points."""


@dataclass(frozen=True, eq=False)
class PairFunctions:
    """Functions at points, on scales on which they are about 1.

    Attributes
    ----------
    pairs : PairMarginal
    typical : (t, d)
        Points that are spread like the posterior.
    """

    pairs: PairMarginal
    typical: Floats

    def __call__(self, below: Below, inner: Floats, outer: Floats) -> Floats:
        """Values (n, f) at parts of n or 1 points, with what is said at the inner ones."""
        n = max(len(inner), len(outer))
        parts = []
        for first in range(0, n, MAX_NODES):
            some = slice(first, first + MAX_NODES)
            own = (below, inner) if len(inner) == 1 else (below.at(some), inner[some])
            parts.append(self._values(*own, outer if len(outer) == 1 else outer[some]))
        return np.concatenate(parts)

    def _values(self, below: Below, inner: Floats, outer: Floats) -> Floats:
        _, values, root = self.pairs.at(below, inner, outer)
        law = self._marginal.scale_law(values, root)
        columns = [*self._of_sds(values, law), *self._of_sigma(values, root)]
        for own, center in zip(self._laws(below, values, law), self._centers, strict=True):
            columns += _of_law(*own, *center)
        return np.nan_to_num(np.vstack(columns).T, posinf=0.0, neginf=0.0)

    @property
    def _marginal(self) -> BlockMarginal:
        return self.pairs.marginal

    @cached_property
    def _at_typical(self) -> tuple[Below, Values, Root, ScaleLaw]:
        inner, outer = (
            self.typical[:, part] for part in (self.pairs.cut.inner, self.pairs.cut.outer)
        )
        below = self.pairs.below(inner)
        _, values, root = self.pairs.at(below, inner, outer)
        return below, values, root, self._marginal.scale_law(values, root)

    @cached_property
    def _centers(self) -> list[tuple[Floats, Floats]]:
        """Means and sds, over the typical points, of all vectors."""
        below, values, _, law = self._at_typical
        centers = []
        for mean, covariance in self._laws(below, values, law):
            variance = np.einsum("kkn->kn", covariance).mean(axis=1) + mean.var(axis=1)
            sd = np.sqrt(np.where(np.isfinite(variance) & (variance > 0), variance, 1.0))
            centers.append((mean.mean(axis=1), sd))
        return centers

    @cached_property
    def _places(self) -> Floats:
        """Places of log σ, over which it is spread at the typical points."""
        _, values, root, _ = self._at_typical
        s, weights = self._marginal.scale.rule(root, values.log_theta)
        weights = weights / len(weights)
        mean = (weights * s).sum()
        sd = np.sqrt((weights * (s - mean) ** 2).sum())
        return np.asarray(mean + sd * np.array(PLACES))

    def _of_sds(self, values: Values, law: ScaleLaw) -> Iterator[Floats]:
        """Moments of sds, correlations and shares of variances."""
        theta = np.vstack([np.exp(values.log_theta), np.ones((1, len(law.sigma)))])
        first, second = theta * law.sigma, theta**2 * law.coefficients.sigma2
        typical = self._at_typical[-1]
        sigma2 = typical.coefficients.sigma2.mean()
        rho, squares = self._marginal.coordinates.correlations(values), theta**2
        yield _finite(first / np.sqrt(sigma2))
        yield _finite(second / sigma2)
        yield rho
        yield rho**2
        share = squares / squares.sum(axis=0)
        yield share
        yield share**2

    def _of_sigma(self, values: Values, root: Root) -> Iterator[Floats]:
        """Densities of log σ."""
        if values.log_sigma is None:
            scale, log_theta = self._marginal.scale, values.log_theta
            density = scale.density(root, log_theta, self._places)
            yield density.T * (self._places[1] - self._places[0])

    def _laws(self, below: Below, values: Values, law: ScaleLaw) -> Laws:
        """Laws of the coefficients and of the probes' effects."""
        own, blocks = law.coefficients, self._marginal.residual.blocks
        factors = self._marginal.coordinates.factors(values)
        probes = [_probes(size) for size in blocks.sizes]
        means: list[Floats] = []
        covariances: list[Floats] = []
        said = self.pairs.said(below, values)
        for level, _, given in downward(blocks, factors, said, groups=probes[-1]):
            if level != ROOT:
                some = given if level == len(probes) - 1 else given.of_members(probes[level])
                mean, covariance = some.moments(own.mean, own.covariance, own.sigma2)
                means.append(mean)
                covariances.append(covariance)
        return [
            (own.mean, own.covariance),
            *(
                (mean[:, k], covariance[:, :, k])
                for mean, covariance in zip(means, covariances, strict=True)
                for k in range(mean.shape[1])
            ),
        ]


def _of_law(mean: Floats, covariance: Floats, center: Floats, sd: Floats) -> Iterator[Floats]:
    """First and second moments, and distribution functions, of vectors of k numbers."""
    from scipy.special import ndtr

    d = (mean - center[:, None]) / sd[:, None]
    own = covariance / (sd[:, None] * sd)[:, :, None]
    pairs = _lower(len(d))
    yield d
    yield own[pairs] + d[pairs[0]] * d[pairs[1]]
    spread = np.sqrt(np.maximum(np.einsum("kkn->kn", own), np.finfo(float).tiny))
    for aside in ASIDE:
        yield ndtr((aside - d) / spread)


@cache
def _lower(k: int) -> tuple[Indices, Indices]:
    """Places of a triangle of k rows."""
    return np.tril_indices(k)


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, 0.0)


def _probes(size: int) -> Indices:
    """Members that stand for all."""
    return np.unique(np.linspace(0, size - 1, PROBES).astype(np.intp))
