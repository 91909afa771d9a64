"""The tree as a kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.records import Densities, Joint, Moments, Rows, UpperDraws
from hiermodels.exact.kernels.tree.draws import draw_groups, draw_upper
from hiermodels.exact.kernels.tree.leave_out import (
    log_densities,
    log_densities_given,
    residual_tree,
)
from hiermodels.exact.kernels.tree.marginal import beta_moments, log_likelihood, rounding_error
from hiermodels.exact.kernels.tree.moments import (
    level_joint,
    level_moments,
    mixture_joint,
    mixture_moments,
)
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances
from hiermodels.exact.kernels.tree.within import Within


@dataclass(frozen=True)
class TreeKernel:
    """Normal rows in nested groups: see :mod:`hiermodels.exact.kernels.tree.tree`.

    The hyperparameters are the variances of the levels, the outermost first, and last, if it is
    unknown, that of a row of weight 1.

    Attributes
    ----------
    tree : Tree
    prior : Coefficients
    """

    tree: Tree
    prior: Coefficients

    def given(self, values: Sequence[Floats]) -> TreeGiven:
        """Set the variances, (n,) each."""
        return TreeGiven(self, Variances.of(values, len(self.tree.sizes)))

    def within(self, rows: Rows | None) -> Within:
        """What the rows of each group, in the coordinates of the residuals, say beside its mean."""
        if rows is None:
            return Within.of_single_rows(self.residual.tree)
        return Within.of(self.residual.tree, rows)

    @cached_property
    def residual(self) -> TreeKernel:
        """The same of the residuals of the preliminary fit."""
        return TreeKernel(residual_tree(self.tree), self.prior.less(self.tree.left.anchor))


@dataclass(frozen=True)
class TreeGiven:
    """The law of rows, values and β given variances.

    Attributes
    ----------
    kernel : TreeKernel
    variances : Variances
        n settings.
    """

    kernel: TreeKernel
    variances: Variances

    def log_likelihood(self) -> Floats:
        """See :func:`~hiermodels.exact.kernels.tree.marginal.log_likelihood`."""
        return log_likelihood(self.kernel.tree, self.variances, self.kernel.prior)

    def rounding_error(self) -> Floats:
        """See :func:`~hiermodels.exact.kernels.tree.marginal.rounding_error`."""
        return rounding_error(self.kernel.tree, self.variances, self.kernel.prior)

    def coefficients(self) -> tuple[Floats, Floats]:
        """See :func:`~hiermodels.exact.kernels.tree.marginal.beta_moments`."""
        return beta_moments(self.kernel.tree, self.variances, self.kernel.prior)

    def moments(
        self, level: int, origin: Floats, members: Indices | None = None
    ) -> tuple[Floats, Floats]:
        """See :func:`~hiermodels.exact.kernels.tree.moments.level_moments`."""
        tree, prior = self.kernel.tree, self.kernel.prior
        return level_moments(tree, self.variances, prior, origin, level, members)

    def mixture(
        self, weights: Floats, origin: Floats | Sequence[Floats], groups: Indices | None = None
    ) -> Moments:
        """See :func:`~hiermodels.exact.kernels.tree.moments.mixture_moments`."""
        tree, prior = self.kernel.tree, self.kernel.prior
        return mixture_moments(tree, self.variances, weights, prior, origin, groups)

    def joint(self, level: int, members: Indices) -> Joint:
        """See :func:`~hiermodels.exact.kernels.tree.moments.level_joint`."""
        return level_joint(self.kernel.tree, self.variances, self.kernel.prior, level, members)

    def mixture_joint(self, weights: Floats, level: int, members: Indices) -> Joint:
        """See :func:`~hiermodels.exact.kernels.tree.moments.mixture_joint`."""
        tree, prior = self.kernel.tree, self.kernel.prior
        return mixture_joint(tree, self.variances, weights, prior, level, members)

    def variance_below(self, level: int) -> Floats:
        """Sum of the variances of the levels below."""
        below = reversed(self.variances.between[level + 1 :])
        return np.sum([np.zeros(len(self.variances)), *below], axis=0)

    def variance_of_row(self) -> Floats:
        """``σ²``, or 1 where it is known."""
        return self.variances.sigma2

    def draw_upper(self, seed: np.random.SeedSequence) -> UpperDraws:
        """See :func:`~hiermodels.exact.kernels.tree.draws.draw_upper`."""
        return draw_upper(self.kernel.tree, self.variances, self.kernel.prior, seed)

    def draw_groups(
        self,
        upper: UpperDraws,
        seed: np.random.SeedSequence,
        unit: tuple[float, Floats],
        groups: Indices | None = None,
    ) -> Floats:
        """See :func:`~hiermodels.exact.kernels.tree.draws.draw_groups`."""
        return draw_groups(self.kernel.tree, self.variances, upper, seed, unit, groups)

    def left_out(
        self, of: Rows | Within, level: int, units: Indices
    ) -> Iterator[tuple[slice, slice, Densities]]:
        """See :func:`~hiermodels.exact.kernels.tree.leave_out.log_densities`."""
        residual = self.kernel.residual
        return log_densities(residual.tree, self.variances, residual.prior, of, level, units)

    def densities_of_outermost(self, within: Within, root: Floats, beta: Floats) -> Floats:
        """See :func:`~hiermodels.exact.kernels.tree.leave_out.log_densities_given`."""
        tree, anchor = self.kernel.residual.tree, self.kernel.tree.left.anchor
        return log_densities_given(tree, within, self.variances, root, beta - anchor)
