"""The posterior of crossed groups by quadrature over the sds: fine enough lattices, and moments.

See :mod:`hiermodels.exact.blocks.sd_posterior`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.blocks.sd_posterior import SdPosterior, laid_first
from hiermodels.exact.compressed import Few, few_nodes, spread_out
from hiermodels.exact.crossed.interpolated import interpolated
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.model import MAX_FACTORS, CrossedModel
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.crossed.downward import Effects
from hiermodels.exact.kernels.crossed.upward import Eliminated, batches
from hiermodels.exact.kernels.tree.marginal import ROUNDED_ROWS
from hiermodels.exact.precision import HEAVIEST
from hiermodels.numerics.lattice import Lattice

DEAR_SPACING = 0.75  # of the first lattice where each node is dear
MAX_WORK = 1e10  # of nodes times cubes of these members, beyond which few nodes are tried
AGREE = 1e-8  # posterior sds, or probability, that two degrees of few nodes may differ by


@dataclass(frozen=True, eq=False, repr=False)
class CrossedPosterior(SdPosterior[CrossedModel]):
    """A lattice over the sds that is fine enough: see :class:`SdPosterior`."""

    marginal: CrossedMarginal
    lattice: Lattice
    root: Root

    @classmethod
    def _integrated(cls, model: CrossedModel, tol: float) -> Self:
        marginal = interpolated(CrossedMarginal.of(model))
        spacing, laid, root = _laid_first(marginal, tol)
        return cls(marginal, laid, root).refined(spacing, tol)

    @staticmethod
    def _has_room(model: CrossedModel) -> bool:
        return len(model.sd_priors) <= MAX_FACTORS

    def _on(self, lattice: Lattice, root: Root) -> Self:
        return replace(self, lattice=lattice, root=root)

    @cached_property
    def rounding(self) -> float:
        """Error of the moments by rounding, which no finer lattice mends, in posterior sds.

        Of the sum of squares that effects and coefficients explain, digits are lost in the
        difference; and the outcome less its coefficients is rounded.
        """
        design, heaviest = self.model.design, np.argsort(self.lattice.weights)[-HEAVIEST:]
        count, c = np.where(design.count > 0, design.count, 1.0), design.n_coefficients
        theta2 = np.exp(2 * self.values.log_theta[design.eliminated, heaviest])
        between = (design.own[:, c] ** 2 / count / (1 + np.multiply.outer(theta2, count))).sum(1)
        of_y = design.within[design.n_others + c, design.n_others + c]
        every = of_y + (design.own[:, c] ** 2 / count).sum()
        sigma2 = self.scale.coefficients.sigma2[heaviest]
        rows = np.sqrt(every / self.model.n_rows / sigma2)
        explained = (of_y + between) / sigma2
        errors = np.finfo(float).eps * (explained + ROUNDED_ROWS * rows)
        return float(np.average(errors, weights=self.lattice.weights[heaviest]))

    def effect_moments(self, factor: int) -> tuple[Floats, Floats]:
        """Means and sds of a factor's deviations, nan where there are none; (u,) each."""
        mean, sd = self._moments_of_effects[factor]
        return mean[0], sd[0]

    @cached_property
    @one_blas_thread()
    def _moments_of_effects(self) -> list[tuple[Floats, Floats]]:
        chosen, weights = np.arange(len(self.lattice)), self.weights
        if self.few is not None:
            chosen, weights = self.few.chosen, self.few.weights
        values, law = self.values.at(chosen), self.scale.coefficients.at(chosen)
        sizes, tails = self.model.rows.sizes, self.marginal.tails
        top = np.array([weights.sum(axis=0).argmax()])
        (_, at_top), *_ = effects_at(self.marginal, values.at(top))
        center = [moments_of(at_top, law.at(top), k)[0][0] for k in range(len(sizes))]
        sums = [np.zeros((2, len(weights), size)) for size in sizes]
        for part, effects in effects_at(self.marginal, values):
            for k, (first, second) in enumerate(sums):
                mean, variance = moments_of(effects, law.at(part), k)
                away = mean - center[k]
                first += weights[:, part] @ away
                second += weights[:, part] @ (variance + away**2)
        moments = []
        for k, (first, second) in enumerate(sums):
            sd = np.sqrt(np.maximum(second - first**2, 0.0))
            exists = [tails.effects_exist(k, order) for order in (1, 2)]
            mean = first + center[k]
            moments.append((np.where(exists[0], mean, np.nan), np.where(exists[1], sd, np.nan)))
        return moments

    @cached_property
    def few(self) -> Few | None:
        """Few nodes that stand for the lattice in sums over effects, where each is dear."""
        others = self.model.design.n_others
        if not self.marginal.coordinates.dimension or len(self.lattice) * others**3 <= MAX_WORK:
            return None
        design = self.model.design
        probes = [spread_out([design.count, design.own[:, design.n_coefficients]])]
        probes += [
            np.arange(0, design.sizes[k], max(1, design.sizes[k] // 64)) for k in design.others
        ]
        order = [design.eliminated, *design.others]
        at = dict(zip(order, probes, strict=True))
        return few_nodes(self.lattice, partial(self._laws, at), AGREE)

    def _laws(self, members: dict[int, Indices], nodes: Indices) -> tuple[Floats, Floats]:
        """Means and sds (n, u) of some members' effects at some nodes."""
        values, law = self.values.at(nodes), self.scale.coefficients.at(nodes)
        parts = []
        for part, effects in effects_at(self.marginal, values):
            own = [moments_of(effects, law.at(part), k, some) for k, some in members.items()]
            parts.append([np.concatenate(both, axis=1) for both in zip(*own, strict=True)])
        mean, variance = (np.concatenate(both) for both in zip(*parts, strict=True))
        return mean, np.sqrt(variance)


def _laid_first(marginal: CrossedMarginal, tol: float) -> tuple[Floats, Lattice, Root]:
    """Spacing (d,) of the first lattice, and this: a wide one, where each node is dear."""
    if not marginal.is_dear:
        return laid_first(marginal, tol)
    spacing = np.full(marginal.coordinates.dimension, DEAR_SPACING)
    return spacing, *marginal.laid(spacing)


def effects_at(marginal: CrossedMarginal, values: Values) -> Iterator[tuple[slice, Effects]]:
    """Yield nodes, and all effects given the coefficients there, some at a time."""
    design, theta = marginal.model.design, np.exp(values.log_theta)
    for part in batches(design, theta.shape[1]):
        yield part, Effects(Eliminated.of(design, theta[:, part]))


def moments_of(
    effects: Effects, law: CoefficientLaw, factor: int, members: Indices | None = None
) -> tuple[Floats, Floats]:
    """Means and variances (n, u) of a factor's effects at nodes with this law of γ and σ."""
    if members is None:
        row, spread = effects.laws(factor)
    else:
        row, spread = effects.laws_of_some(factor, members)
    mean = row[..., -1] + np.einsum("nuc,cn->nu", row[..., :-1], law.mean)
    turned = np.einsum("nuc,cdn->nud", row[..., :-1], law.covariance)
    return mean, (turned * row[..., :-1]).sum(axis=2) + spread * law.sigma2[:, None]
