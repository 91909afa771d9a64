"""The marginal posterior of sds and correlations, and its lattice.

All effects and coefficients are integrated out (:mod:`hiermodels.exact.kernels.blocks`), and where
the model is relative so is σ (:mod:`hiermodels.exact.blocks.residual_scale`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import SpecError
from hiermodels.exact.blocks.coordinates import Coordinates
from hiermodels.exact.blocks.cut import Cut
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.propriety import Tails, check
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.blocks.sd_marginal import FAR, SdMarginal
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.upward import evaluate
from hiermodels.exact.lattice_errors import within_range
from hiermodels.model.level import INTERCEPT

MAX_DIMENSION = 5  # that a lattice has
SMALLEST_SHARE = 1e-9  # of a covariate, varying within groups, that is not rounding error
FAR_ZERO = 4.0  # sds of a column from its 0 to its rows
LITTLE = 1e-3  # of one that is lost beside others


@dataclass(frozen=True, eq=False)
class BlockMarginal(SdMarginal[BlockModel]):
    """``p(y, u)`` at points u, with what integrates the rest out.

    Attributes
    ----------
    model : BlockModel
    tails : Tails
        Which moments exist.
    """

    model: BlockModel
    tails: Tails

    @classmethod
    def of(cls, model: BlockModel) -> BlockMarginal:
        """Check that the posterior exists, and set it up.

        What least squares within groups say of β is taken from the outcome: of sums of squares no
        digits are then lost in differences.
        """
        marginal = cls(model, check(model))
        if marginal.cut is None and marginal.coordinates.dimension > MAX_DIMENSION:
            raise SpecError(
                f"the exact posterior has {marginal.coordinates.dimension} unknown sds and "
                f"correlations on its lattice, which holds {MAX_DIMENSION}. Use fewer effects or "
                f"levels, uncorrelated ones, or engine='nuts'"
            )
        return marginal

    @cached_property
    def anchor(self) -> Floats:
        """What is taken from β: least squares within groups, the shortest of the best; (q,)."""
        size, (left, share, right) = self._within
        some = share > SMALLEST_SHARE
        y = self.model.blocks.rest[:, -1]
        return (left[: len(y), some].T @ y / share[some]) @ right[some] / size

    @cached_property
    def center(self) -> Floats:
        """Least squares of x and y on the root's effects z, over all rows; (f, q + 1).

        Of an intercept, their means.  Nothing of strata and of correlated rows.
        """
        blocks = self.model.blocks
        if blocks.strata is not None or blocks.turned is not None:
            return np.zeros((int(blocks.fixed.sum()), blocks.q + 1))
        z = blocks.designs[:, blocks.fixed][:, :, blocks.design]
        if not z.shape[1]:
            return np.zeros((0, blocks.q + 1))
        z, rows = (
            part.transpose(0, 2, 1).reshape(-1, part.shape[1]) for part in (z, blocks.outcome)
        )
        return np.linalg.lstsq(z, rows)[0]

    @cached_property
    def _within(self) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
        """Sizes (q,) of the covariates less ``z'shift``, and singular values within groups."""
        blocks = self.model.blocks.shifted(self.center)
        x = blocks.rest[:, :-1]
        size = np.sqrt((x**2).sum(axis=0) + (blocks.outcome[:, :-1] ** 2).sum(axis=(0, 2)))
        size = np.where(size > 0, size, 1.0)
        rows = np.vstack([x / size, np.zeros((blocks.q, blocks.q))])
        return size, np.linalg.svd(rows, full_matrices=False)

    @cached_property
    def residual(self) -> BlockModel:
        """The model of the outcome less ``x'anchor``."""
        model = self.model
        mean = model.mean.copy()
        mean[len(mean) - model.blocks.q :] -= self.anchor
        return replace(model, blocks=model.blocks.less(self.anchor), mean=mean)

    @cached_property
    def coordinates(self) -> Coordinates:
        """Of the sds and correlations."""
        return Coordinates(self.residual)

    @cached_property
    def cut(self) -> Cut | None:
        """The two parts of the coordinates that have a lattice each, if they do."""
        return Cut.of(self.coordinates)

    @property
    def shift(self) -> Floats:
        """What is taken from the coefficients: nothing of the root's, and the anchor; (c,)."""
        size = self.model.n_coefficients - len(self.anchor)
        return np.concatenate([np.zeros(size), self.anchor])

    @one_blas_thread()
    def root(self, values: Values) -> Root:
        """What all rows say of the coefficients and of σ."""
        factors = self.coordinates.factors(values)
        if not self.center.any():
            return evaluate(self.coordinates.blocks(values), factors)
        blocks, center, axes = self._apart
        return evaluate(blocks, factors).moved(center, axes)

    @cached_property
    def _apart(self) -> tuple[Blocks, Floats, Floats | None]:
        """Blocks less ``z'center``, this center (f, q + 1), and axes (q, q) of combinations of x.

        Orthogonal ones, where not all covariates vary within groups, each beside the others: what
        rows within groups say of β, of rank below q or nearly so, would be added to what little
        groups say when they differ much, and the squares of the sum lose the latter's digits.
        """
        size, (_, share, right) = self._within
        center = self.center.copy()
        center[:, -1] -= center[:, :-1] @ self.anchor
        blocks = self.residual.blocks.shifted(center)
        if not (share < LITTLE).any():
            return blocks, center, None
        combined = blocks.combined(right.T / size[:, None], share > SMALLEST_SHARE)
        return combined, center, right * size

    def within_range(self) -> AbstractContextManager[None]:
        """Turn failures of a lattice into errors of the model."""
        return within_range("the sds and correlations", f"{FAR}{self._far_zero}")

    @cached_property
    def _far_zero(self) -> str:
        """What to do about a slope's column whose 0 lies far from the rows."""
        blocks, names = self.model.blocks, self.model.effects
        if names[:1] != (INTERCEPT,) or len(names) == 1:
            return ""
        z = blocks.designs[:, :, blocks.design]
        squares = np.einsum("iag,ibg->ab", z, z)
        size = np.diag(squares)[1:]
        mean2 = squares[0, 1:] ** 2 / squares[0, 0]
        far = np.sqrt(mean2 / np.maximum(size - mean2, np.finfo(float).eps * size))
        worst = int(np.argmax(far))
        if far[worst] < FAR_ZERO:
            return ""
        name = names[1 + worst]
        return (
            f". The 0 of {name} lies {far[worst]:.0f} of its sds from the mean of its rows, and "
            f"little is known of what groups are like there: center it, by writing center({name}) "
            f"in place of {name} throughout the formula. Intercepts, their sds and correlations, "
            f"and the priors of these, are then those at the mean"
        )
