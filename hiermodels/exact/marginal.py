"""The marginal posterior of the variances, from a specification and data.

All effects and coefficients are integrated out by a kernel (:mod:`hiermodels.exact.kernels`); what
is left is a density in one to three dimensions.  It is taken in coordinates u that suit a lattice,
one for each sd (:mod:`hiermodels.exact.sd_axis`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.core.messages import listed
from hiermodels.exact import propriety
from hiermodels.exact.kernels.kernel import Given, Kernel
from hiermodels.exact.kernels.registry import KERNELS
from hiermodels.exact.kernels.tree.tree import Coefficients, Variances
from hiermodels.exact.lattice_errors import within_range
from hiermodels.exact.propriety import Tails
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.exact.standardized import Standardized
from hiermodels.model.spec import Spec
from hiermodels.numerics import lattice
from hiermodels.numerics.lattice import Lattice, LatticeError
from hiermodels.numerics.modes import LARGEST_LOG, find_modes, peaks

SPACING = {0: 1.0, 1: 0.25, 2: 0.75, 3: 1.0}  # draws are exact on any lattice; a wide one is quick
SCAN_STEP = {1: 1.0, 2: 1.0, 3: 2.0}  # of the first look at the density
MAX_ASCENTS = 16  # from peaks of the pilot grid, the highest first
TAIL_MASS = 1e-12  # share of the posterior


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

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all sds, the columns of ``sds`` and ``log_sds``."""
        return self.spec.sds

    @cached_property
    def fixed(self) -> dict[int, float]:
        """Columns of the sds that are fixed, and their values in the outcome's unit."""
        return {self.names.index(name): value for name, value in self.spec.fixed.items()}

    @cached_property
    def free(self) -> tuple[int, ...]:
        """Columns of the sds that are not fixed, in the order of the coordinates u."""
        return tuple(j for j in range(len(self.names)) if j not in self.fixed)

    @cached_property
    def coefficients(self) -> Coefficients:
        """Priors of the intercept and of β, in the tree's coordinates.

        There β is ``T β_tree`` with ``T = scale · basis``, and the intercept, which belongs to
        x = 0, is the root's value less ``origin'β_tree``.  Without an intercept it is 0, exactly.
        """
        spec, data = self.spec, self.data
        mean, precision = 0.0, np.inf
        if spec.intercept:
            mean, precision = spec.coefficient_prior(spec.intercept).mean_and_precision()
        root_row = np.append(-data.origin, (mean - data.location) / data.scale)
        own = [spec.coefficient_prior(name).mean_and_precision() for name in spec.coefficients]
        means, precisions = np.array(own).reshape(-1, 2).T
        transform = data.scale * data.basis
        proper = precisions[precisions > 0]
        log_normalizer = 0.5 * (np.log(proper) - LOG_2PI).sum()
        if precision == 0:  # flat in the outcome's unit
            log_normalizer += np.log(data.scale)
        return Coefficients(
            root_row=root_row,
            root_precision=precision * data.scale**2,
            mean=np.linalg.solve(transform, means),
            precision=transform.T @ (precisions[:, None] * transform),
            log_normalizer=float(log_normalizer + np.linalg.slogdet(transform)[1]),
            factor=np.sqrt(precisions[precisions > 0])[:, None] * transform[precisions > 0],
        )

    @cached_property
    def informed(self) -> Floats:
        """Log variances between which the data speak, of each sd; (c, 2)."""
        sigma2 = np.log(self._sigma2)
        ranges = {"sigma": (sigma2 - 4, sigma2 + 4)}
        ranges |= {level.sd: self._range(i) for i, level in enumerate(self.spec.levels)}
        return np.array([ranges[name] for name in self.names])

    @cached_property
    def axes(self) -> dict[int, SdAxis]:
        """Coordinates of the sds that are not fixed, by column."""
        return {j: self._axis(j) for j in self.free}

    def _axis(self, column: int) -> SdAxis:
        low, high = self.informed[column]
        prior = self.spec.variance_prior(self.names[column])
        return SdAxis(prior, self.data.scale, (float(low), float(high)))

    def log_sds(self, u: Floats) -> Floats:
        """Logarithms of all standardised sds (n, c) at points u (n, d)."""
        log_sds = np.empty((len(u), len(self.names)))
        for j, column in zip(self.free, u.T, strict=True):
            log_sds[:, j] = self.axes[j].log_sd(column)
        for j, value in self.fixed.items():
            log_sds[:, j] = np.log(value / self.data.scale) if value else -np.inf
        return log_sds

    def sds(self, u: Floats) -> Floats:
        """All sds (n, c), in the outcome's unit, at points u (n, d)."""
        sds = np.exp(self.log_sds(u)) * self.data.scale
        for j, value in self.fixed.items():
            sds[:, j] = value
        return sds

    def coordinate(self, axis: int, sd: Floats) -> Floats:
        """The coordinate at which an sd of this column, in the outcome's unit, stands."""
        return self.axes[axis].coordinate(sd)

    def variances(self, u: Floats) -> Variances:
        """Standardised variances at points u."""
        return self.variances_from(np.exp(2 * self.log_sds(u)))

    def variances_of(self, sds: Floats) -> Variances:
        """Standardised variances from all sds in the outcome's unit (n, c)."""
        return self.variances_from((sds / self.data.scale) ** 2)

    def variances_from(self, columns: Floats) -> Variances:
        """Standardised variances level by level, from columns (n, c) in the order of ``names``."""
        return Variances.of(self._by_level(columns), len(self.spec.levels))

    def _by_level(self, columns: Floats) -> list[Floats]:
        """Variances (n,) of the levels, the outermost first, and σ² if it is unknown."""
        by_name = dict(zip(self.names, columns.T, strict=True))
        sigma2 = [by_name["sigma"]] if "sigma" in by_name else []
        return [*(by_name[level.sd] for level in self.spec.levels), *sigma2]

    @cached_property
    def kernel(self) -> Kernel:
        """What integrates the values and the coefficients out."""
        kind = KERNELS[self.spec.family.name, self.spec.structure]
        return kind(self.data.tree, self.coefficients)

    def given(self, u: Floats) -> Given:
        """The law of all else given the sds at points u."""
        return self.kernel.given(self._by_level(np.exp(2 * self.log_sds(u))))

    def given_sds(self, sds: Floats) -> Given:
        """The law of all else given all sds, in the outcome's unit (n, c)."""
        return self.kernel.given(self._by_level((sds / self.data.scale) ** 2))

    def log_density(self, u: Floats) -> Floats:
        """``log p(y, u)`` at points u (n, d): with proper priors, normalised; shape (n,)."""
        log_sds = self.log_sds(u)
        likelihood = self.kernel.given(self._by_level(np.exp(2 * log_sds))).log_likelihood()
        return self._log_prior(u, log_sds) + likelihood

    def _log_prior(self, u: Floats, log_sds: Floats) -> Floats:
        """Log density less the log likelihood of the standardised outcome; shape (n,).

        At points u (n, d), where the standardised log sds (n, c) are.
        """
        along = [
            self.axes[j].log_prior(log_sds[:, j]) + self.axes[j].log_slope(column)
            for j, column in zip(self.free, u.T, strict=True)
        ]
        return self.data.log_jacobian + np.sum([np.zeros(len(u)), *along], axis=0)

    @cached_property
    def pilot_grid(self) -> tuple[Floats, Floats]:
        """A first look: points u of a coarse grid (…, d), and the log density at each.

        In a log variance the likelihood changes over distances of about 1, however many groups
        there are: it is a sum of terms ``−½ log v − ½ r²/v`` with ``v = e^x + error``.  A prior may
        be far narrower; so the grid has the places where each prior is highest among its own.
        """
        step = SCAN_STEP[len(self.free)]
        axes = [axis.pilot_places(step) for axis in self.axes.values()]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return grid, self.log_density(grid.reshape(-1, len(axes))).reshape(grid.shape[:-1])

    @cached_property
    def mode_and_scale(self) -> lattice.ModesAndScale:
        """Where the posterior lies: Newton's method from the peaks on the pilot grid.

        A peak's density says little where a prior is narrow, so low ones are taken as well.
        """
        grid, log_densities = self.pilot_grid
        places = np.flatnonzero(peaks(log_densities) & np.isfinite(log_densities))
        highest = places[np.argsort(-log_densities.flat[places], kind="stable")][:MAX_ASCENTS]
        starts = grid.reshape(-1, grid.shape[-1])[highest]
        with self._within_range():
            return find_modes(self.log_density, starts)

    def lattice(self, spacing: float | Floats, order: int = 2) -> Lattice:
        """Lay a lattice over the posterior, wide enough for the moments of sds that exist.

        Parameters
        ----------
        spacing : float or (d,)
        order : int
            The highest moment that will be taken.
        """
        if not self.free:
            return Lattice.of_nothing(self.log_density(np.empty((1, 0))))
        free, orders = list(self.free), range(order, 0, -2)
        power = np.array(
            [
                next((m for m in orders if self.tails.sd_moment_exists(self.names[j], m)), 0)
                for j in free
            ]
        )

        at_mode = self.log_sds(self.mode_and_scale.modes[:1])[:, free]

        def log_weight(u: Floats) -> Floats:
            """How many times larger an sd's moment is than at the mode: the largest of them."""
            ratio = self.log_sds(u)[:, free] - at_mode
            return (power * ratio).max(axis=1, initial=0.0)

        with self._within_range():
            laid = lattice.grow(self.log_density, self.mode_and_scale, spacing, log_weight)
            self._require_range(laid)
        return laid

    def _require_range(self, laid: Lattice) -> None:
        """Raise LatticeError if the posterior reaches variances beyond ``exp(±LARGEST_LOG)``."""
        x = [self.axes[j].x(u) for j, u in zip(self.free, laid.points.T, strict=True)]
        beyond = (np.abs(x) >= LARGEST_LOG).any(axis=0)
        if laid.weights[beyond].sum() > TAIL_MASS:
            raise LatticeError(
                f"it reaches sds beyond exp(±{LARGEST_LOG / 2:g}) times the size of the data"
            )

    def _within_range(self) -> AbstractContextManager[None]:
        names = [self.names[j] for j in self.free]
        priors = [f"{name} ~ {self.spec.variance_prior(name)}" for name in names]
        advice = (
            f"The priors {listed(priors)} lie too far from the data, whose typical size is "
            f"{self.data.scale:.3g}, or are too narrow; check their unit"
        )
        return within_range(listed(names), advice)

    @cached_property
    def _sigma2(self) -> float:
        """A typical variance of a row of weight 1."""
        if self.spec.se:
            return 1.0
        tree = self.data.tree
        df = tree.n_rows - tree.n_groups - int((self.data.level > tree.innermost).sum())
        within = tree.left.scatter[-1, -1] / df if df else 0.0
        return float(within) or self._between or 1.0

    @property
    def _between(self) -> float:
        """Mean square of the groups' means around their own mean, or 0 without an intercept."""
        means = self.data.tree.mean[:, -1]
        return float(np.var(means) if self.spec.has_intercept else (means**2).mean())

    def _range(self, level: int) -> tuple[float, float]:
        """From a spread that is lost among the errors to one that is larger than any seen."""
        tree = self.data.tree
        error = self._sigma2 / np.median(tree.weight) * tree.sizes[level] / tree.n_groups
        spread = self._between
        low = np.log(error) - 0.5 * np.log(tree.sizes[level]) - 4
        return float(low), float(np.log(max(spread, error)) + 4)
