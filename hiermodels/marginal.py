"""The marginal posterior of the variances, from a specification and data.

All values and coefficients are integrated out by :mod:`hiermodels.gaussian`; what is left is a
density in one to three dimensions.  It is taken in coordinates x in which it is smooth and
falls at least linearly on all sides: the log variance, or ``log(v / (b² − v))`` for a variance
v that its prior bounds by b².
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels import gaussian, lattice, propriety
from hiermodels.gaussian import Coefficients, Floats, Indices, Variances
from hiermodels.lattice import Lattice
from hiermodels.propriety import Tails
from hiermodels.spec import Spec
from hiermodels.sufficient import Standardized

SCAN = np.array([-14.0, -9.0, -6.0, -4.0, -2.0, 0.0, 2.0])  # first look at log variances
WORTH_CLIMBING = 50.0  # below the highest point of the scan


@dataclass(frozen=True)
class Marginal:
    """The marginal posterior of the variances, on the standardised scale of the outcome.

    Attributes
    ----------
    spec : Spec
    data : Standardized
    tails : Tails
        Which moments exist.
    """

    spec: Spec
    data: Standardized
    tails: Tails

    @classmethod
    def of(cls, spec: Spec, data: Standardized) -> Marginal:
        """Check that the posterior exists, and set it up."""
        return cls(spec, data, propriety.check(spec, data))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the unknown sds, in the order of the coordinates."""
        return self.spec.sds

    @cached_property
    def coefficients(self) -> Coefficients:
        """Priors of the intercept and of β, in the tree's coordinates.

        There β is ``T β_tree`` with ``T = scale · basis``, and the intercept, which belongs to
        x = 0, is the root's value less ``origin'β_tree``.
        """
        spec, data = self.spec, self.data
        mean, precision = spec.coefficient_prior(spec.intercept).mean_and_precision()
        root_row = np.append(-data.origin, (mean - data.location) / data.scale)
        own = [spec.coefficient_prior(name).mean_and_precision() for name in spec.coefficients]
        means, precisions = np.array(own).reshape(-1, 2).T
        transform = data.scale * data.basis
        proper = precisions[precisions > 0]
        log_normalizer = 0.5 * (np.log(proper) - gaussian.LOG_2PI).sum()
        return Coefficients(
            root_row=root_row,
            root_precision=precision * data.scale**2,
            mean=np.linalg.solve(transform, means),
            precision=transform.T @ (precisions[:, None] * transform),
            log_normalizer=float(log_normalizer + np.linalg.slogdet(transform)[1]),
        )

    def log_sds(self, x: Floats) -> Floats:
        """Logarithms of the standardised sds at points x, both (n, d)."""
        return np.stack([self._log_sd(j, x[:, j]) for j in range(x.shape[1])], axis=1)

    def coordinate(self, axis: int, sd: Floats) -> Floats:
        """The coordinate at which an sd, in the outcome's unit, stands."""
        with np.errstate(divide="ignore"):
            log_variance = 2 * (np.log(sd) - np.log(self.data.scale))
        upper = self._log_upper(axis)
        if upper == np.inf:
            return log_variance
        with np.errstate(divide="ignore"):
            return -np.log(np.expm1(np.maximum(2 * upper - log_variance, 0.0)))

    def sds(self, x: Floats) -> Floats:
        """Sds in the outcome's unit at points x, both (n, d)."""
        return np.exp(self.log_sds(x)) * self.data.scale

    def variances(self, x: Floats) -> Variances:
        """Standardised variances at points x."""
        return self._variances(np.exp(2 * self.log_sds(x)))

    def variances_of(self, sds: Floats) -> Variances:
        """Standardised variances from sds in the outcome's unit (n, d)."""
        return self._variances((sds / self.data.scale) ** 2)

    def _variances(self, columns: Floats) -> Variances:
        sigma2 = np.ones(len(columns)) if self.spec.se else columns[:, -1]
        return Variances(tuple(columns[:, : len(self.spec.spreads)].T), sigma2)

    def log_density(self, x: Floats) -> Floats:
        """``log p(y, x)`` at points x (n, d): with proper priors, normalised; shape (n,)."""
        total = gaussian.log_likelihood(self.data.tree, self.variances(x), self.coefficients)
        total += self.data.log_jacobian
        log_sds = self.log_sds(x) + np.log(self.data.scale)
        for j, name in enumerate(self.names):
            total += self.spec.variance_prior(name).log_density_log_sd(log_sds[:, j])
            total += self._log_slope(j, x[:, j])
        return total

    @cached_property
    def frame(self) -> lattice.Frame:
        """Where the posterior lies: climbed to from the peaks of a coarse scan."""
        d = len(self.names)
        axes = [SCAN + self._offset(j) for j in range(d)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        heights = self.log_density(grid.reshape(-1, d)).reshape(grid.shape[:-1])
        heights = np.where(np.isnan(heights), -np.inf, heights)
        peaks = _peaks(heights) & (heights > heights.max() - WORTH_CLIMBING)
        return lattice.find_frame(self.log_density, grid[peaks])

    def lattice(self, spacing: float) -> Lattice:
        """Lay a lattice over the posterior, wide enough for every moment that exists."""
        growth = [
            float(self._log_upper(j) == np.inf and self.tails.sd_moment_exists(name, 2))
            for j, name in enumerate(self.names)
        ]
        return lattice.flood(self.log_density, self.frame, spacing, np.array(growth))

    def _log_upper(self, axis: int) -> float:
        """Logarithm of the largest standardised sd that the prior allows."""
        upper = self.spec.variance_prior(self.names[axis]).upper
        return float(np.log(upper / self.data.scale))

    def _offset(self, axis: int) -> float:
        """Where the scan of an axis begins to count: the log of the typical variance, 0."""
        upper = self._log_upper(axis)
        return 0.0 if upper == np.inf else -2 * upper

    def _log_sd(self, axis: int, x: Floats) -> Floats:
        upper = self._log_upper(axis)
        return x / 2 if upper == np.inf else upper - np.logaddexp(0, -x) / 2

    def _log_slope(self, axis: int, x: Floats) -> Floats:
        """Logarithm of the derivative of the log sd with respect to x."""
        bounded = self._log_upper(axis) < np.inf
        return np.log(0.5) - (np.logaddexp(0, x) if bounded else 0.0)


class Values:
    """Exact draws of all variables given draws of the unknown sds, in the outcome's unit.

    Parameters
    ----------
    marginal : Marginal
    sds : (n, d)
        In the outcome's unit.
    rng : numpy.random.Generator
        Seeds the streams.
    """

    def __init__(self, marginal: Marginal, sds: Floats, rng: np.random.Generator) -> None:
        upper, self._seed = rng.bit_generator.seed_seq.spawn(2)  # type: ignore[attr-defined]
        self._marginal, self._sds = marginal, sds
        self._variances = marginal.variances_of(sds)
        self._upper = gaussian.draw_upper(
            marginal.data.tree, self._variances, marginal.coefficients, upper
        )

    def above_groups(self) -> dict[str, Floats]:
        """All variables but the groups' values: scalars (n,), values (u, n)."""
        spec, standard = self._marginal.spec, self._marginal.data
        variables = dict(zip(self._marginal.names, self._sds.T, strict=True))
        for name, level in zip(spec.values[1:], self._upper.levels, strict=True):
            values = self._in_own_unit(level)
            variables[name] = values if spec.dims(name) else values[0]
        if spec.covariates:
            variables["beta"] = standard.scale * (standard.basis @ self._upper.beta)
        return variables

    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Values of all groups, or of some, the same whichever others are drawn; (g, n)."""
        tree = self._marginal.data.tree
        drawn = gaussian.draw_groups(tree, self._variances, self._upper, self._seed, groups)
        return self._in_own_unit(drawn)

    def _in_own_unit(self, values: Floats) -> Floats:
        """From standardised values at the covariates' means to the outcome's unit at x = 0."""
        standard = self._marginal.data
        at_zero = standard.location - standard.scale * (standard.origin @ self._upper.beta)
        return standard.scale * values + at_zero


def _peaks(heights: Floats) -> np.ndarray:
    """Where no neighbour along an axis is higher."""
    peaks = np.ones(heights.shape, dtype=bool)
    for axis in range(heights.ndim):
        padded = np.pad(
            heights, [(int(a == axis),) * 2 for a in range(heights.ndim)], constant_values=-np.inf
        )
        size = heights.shape[axis]
        for shift in (0, 2):
            neighbour = np.take(padded, np.arange(shift, shift + size), axis=axis)
            peaks &= heights >= neighbour
    return peaks
