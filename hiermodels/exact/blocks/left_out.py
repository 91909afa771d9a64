"""Densities of units left out at nodes of the sds and correlations, σ integrated.

    log 1/p(y_u | the rest, Θ) = log E[σ^k exp(−log_det_u) …],    k rows,

with what is under the mean over σ | Θ, y by :mod:`hiermodels.exact.kernels.blocks.leave_out`: in
closed form, or as a sum over the places of σ's integral.  The sum is a smooth function of what a
unit changes in the sum of squares: at each node it is interpolated for all single rows, where its
Chebyshev coefficients show that this is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.blocks.sd_marginal import SdMarginal
from hiermodels.exact.kernels.blocks.leave_out import (
    Change,
    CoefficientsGiven,
    SingleRows,
    Unit,
    changes_by_row,
    changes_by_unit,
)
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.numerics.chebyshev import interpolated

POINTS, CLOSE = 16, 1e-12  # that stand for many units: the sum is analytic in what a unit changes
FEWEST = 2 * POINTS  # units


@dataclass(frozen=True)
class LeftOut:
    """Units at nodes.

    Attributes
    ----------
    less : (u, n)
        ``log 1/p(y_u | the rest, Θ)``, but for constants of the unit.
    more : (u, n)
        Log density of other rows like these, given all, but for the same constants.
    kept : (u, n)
        Share of what is known that is left without the unit.
    """

    less: Floats
    more: Floats
    kept: Floats


@dataclass(frozen=True, eq=False)
class BlockUnits:
    """Units that can be left out.

    Attributes
    ----------
    level : int
        Of the units; of rows, one more than the groups'.
    units : tuple of Unit or SingleRows
        Of the outcome less ``x'anchor``.
    n_rows : (u,)
        Number of rows of each.
    """

    level: int
    units: tuple[Unit, ...] | SingleRows
    n_rows: Floats

    def left_out(
        self, marginal: BlockMarginal, values: Values, sigma: SigmaAtNodes, some: Indices
    ) -> Iterator[tuple[slice, Indices, LeftOut]]:
        """Yield nodes, places among ``some`` and densities."""
        coordinates = marginal.coordinates
        blocks, factors = coordinates.blocks(values), coordinates.factors(values)
        parts: Iterator[tuple[slice, slice | Indices, Change]]
        if isinstance(self.units, SingleRows):
            rows = self.units.some(some)
            parts = changes_by_row(blocks, factors, rows, sigma.law)
        else:
            units = [self.units[u] for u in some.tolist()]
            parts = changes_by_unit(blocks, factors, self.level, units, sigma.law)
        every = np.arange(len(some))
        for nodes, part, change in parts:
            own, count = sigma.at(nodes), self.n_rows[some[part], None]
            less, more = own.log_ratio(change.less, -count), own.log_ratio(change.more, count)
            kept = change.kept.reshape(*less.shape, -1).min(axis=-1)
            yield nodes, every[part], LeftOut(less, more, kept)


@dataclass(frozen=True, eq=False)
class SigmaAtNodes:
    """σ at n nodes, with the law of the coefficients.

    Attributes
    ----------
    root : Root
    law : CoefficientsGiven
    shape : float, optional
        a of ``σ² ~ InverseGamma(a, S/2)``, if that is its law; if not,
    s, log_share : (n, k), optional
        places of log σ, and logarithms of their weights.
    """

    root: Root
    law: CoefficientsGiven
    shape: float | None = None
    s: Floats | None = None
    log_share: Floats | None = None

    @classmethod
    def of(cls, marginal: SdMarginal[Any], values: Values) -> SigmaAtNodes:
        """Find its law at all nodes."""
        root, scale, model = marginal.root(values), marginal.scale, marginal.residual
        if values.log_sigma is None and scale.is_closed:
            return cls(root, CoefficientsGiven(root.mean, root.covariance, 1), scale.shape)
        if values.log_sigma is None:
            s, share = scale.rule(root, values.log_theta)
        else:
            s, share = values.log_sigma[:, None], np.ones((len(values.log_sigma), 1))
        each = 1 if model.flat_coefficients else s.shape[1]
        at = root
        if each > 1 or not model.flat_coefficients:
            at = root.at_each(each).with_prior(model.mean, model.precision, np.exp(s.ravel()))
        law = CoefficientsGiven(at.mean, at.covariance, each)
        with np.errstate(divide="ignore"):
            return cls(root, law, None, s, np.log(share))

    def law_at(self, nodes: slice) -> CoefficientsGiven:
        """Law of the coefficients at some nodes, with all places of σ at each."""
        each = self.law.each
        own = slice(nodes.start * each, nodes.stop * each)
        return replace(
            self.law, mean=self.law.mean[:, own], covariance=self.law.covariance[..., own]
        )

    def with_prior(self, marginal: SdMarginal[Any], root: Root) -> Root:
        """What rows say of the coefficients, and their priors, at all places of σ."""
        model = marginal.residual
        if model.flat_coefficients:
            return root
        assert self.s is not None
        at = root.at_each(self.law.each)
        return at.with_prior(model.mean, model.precision, np.exp(self.s.ravel()))

    def at(self, nodes: slice | Indices) -> SigmaAtNodes:
        """The same at some nodes."""
        some = replace(self, root=self.root.at(nodes))
        if self.s is None or self.log_share is None:
            return some
        return replace(some, s=self.s[nodes], log_share=self.log_share[nodes])

    def log_ratio(self, change: Floats, rows: Floats) -> Floats:
        """Log ratio of the likelihood with a change to that of all rows, σ integrated; (u, n).

        Parameters
        ----------
        change : (2, u, n·each)
            ``log_scale`` and ``square``.
        rows : (u, 1)
            Number of rows that come.
        """
        log_scale, square = change
        if self.shape is not None:
            return log_scale + _closed(self.shape, self.root.square, rows, square)
        each = square.shape[1] // len(self.root.log_det)
        if each > 1 or len(rows) < FEWEST or np.ptp(rows) or not np.isfinite(square).all():
            return self._summed(log_scale, square, rows)
        values, known = interpolated(
            lambda x: self._summed(np.zeros(x.shape), x, rows[: len(x)]), square, POINTS, CLOSE
        )
        if not known.all():
            other = np.flatnonzero(~known)
            left = square[:, other]
            values[:, other] = self.at(other)._summed(np.zeros(left.shape), left, rows)
        return log_scale + values

    def _summed(self, log_scale: Floats, square: Floats, rows: Floats) -> Floats:
        """The same as a sum over the places of σ."""
        assert self.s is not None
        assert self.log_share is not None
        shape = (len(rows), len(self.s), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            values = log_scale.reshape(shape) - square.reshape(shape) * np.exp(-2 * self.s) / 2
            values = values - rows[:, :, None] * self.s + self.log_share
            top = values.max(axis=2)
            return top + np.log(np.exp(values - top[:, :, None]).sum(axis=2))


def _closed(shape: float, square: Floats, rows: Floats, change: Floats) -> Floats:
    """``log ∫ σ^−rows exp(−change/(2σ²))`` over ``σ² ~ InverseGamma(a, S/2)``; (u, n)."""
    from scipy.special import gammaln

    after = shape + rows / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        total = gammaln(np.where(after > 0, after, np.nan)) - gammaln(shape)
        return total + shape * np.log(square / 2) - after * np.log((square + change) / 2)
