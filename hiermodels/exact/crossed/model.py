"""Crossed groups: what is observed, and what is assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import SpecError
from hiermodels.exact.blocks.model import is_broad
from hiermodels.exact.crossed.rows import CrossedRows
from hiermodels.exact.kernels.crossed.design import CrossedDesign
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed

MAX_OTHERS = 5_000  # members of all factors but the largest: 200 MB a matrix
MAX_FACTORS = 4


@dataclass(frozen=True, eq=False)
class CrossedModel:
    """What is observed, and the priors.

    Attributes
    ----------
    rows : CrossedRows
    sd_priors : tuple of VariancePrior
        Of the sd of each factor.
    sigma : VariancePrior
        ``Fixed(1)`` if the rows' variances are known, 1/ω.
    mean, precision : (c,)
        Of the normal priors of the coefficients; precision 0 is flat, with density 1.
    names, columns : tuple of str
        What messages call the sds, and the factors.
    integrate_sigma : bool
        Whether σ is integrated by itself where it can be: see :attr:`relative`.
    """

    rows: CrossedRows
    sd_priors: tuple[VariancePrior, ...]
    sigma: VariancePrior
    mean: Floats
    precision: Floats
    names: tuple[str, ...]
    columns: tuple[str, ...]
    integrate_sigma: bool = True

    def __post_init__(self) -> None:
        sizes = self.rows.sizes
        others = sum(sizes) - max(sizes)
        if others > MAX_OTHERS:
            largest = self.columns[int(np.argmax(sizes))]
            raise SpecError(
                f"the exact engine holds a matrix of all members of the columns of groups but the "
                f"largest, {largest!r}: {others:,} here, and at most {MAX_OTHERS:,} fit. Use "
                f"engine='nuts'"
            )
        if len(sizes) > MAX_FACTORS:
            raise SpecError(
                f"the exact engine takes up to {MAX_FACTORS} columns of crossed groups; found "
                f"{len(sizes)}. Use engine='nuts'"
            )

    @property
    def design(self) -> CrossedDesign:
        """What the rows say."""
        return self.rows.design

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.design.n_rows

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients, c."""
        return self.design.n_coefficients

    @property
    def log_weight(self) -> float:
        """``Σ log ω`` of the rows."""
        return self.design.log_weight

    @property
    def varying(self) -> list[int]:
        """Factors whose sds are not fixed at 0."""
        return [k for k, prior in enumerate(self.sd_priors) if prior != Fixed(0)]

    @property
    def flat_coefficients(self) -> bool:
        """Whether all coefficients have flat priors."""
        return not self.precision.any()

    @cached_property
    def residual_df(self) -> int:
        """Number of rows beyond those that coefficients and effects can fit."""
        x = self.rows.weighted[:, :-1]
        rank = rank_of(self.rows.without_effects(self.varying, x), np.linalg.norm(x, axis=0))
        return self.n_rows - self.rows.rank_of_effects(self.varying) - rank

    @cached_property
    def residual_square(self) -> float:
        """Sum of squares that coefficients and effects leave of the rows."""
        both = np.column_stack([self.rows.weighted[:, :-1], self.rows.residual])
        left = self.rows.without_effects(self.varying, both)
        size = np.linalg.norm(left[:, :-1], axis=0)
        x = left[:, :-1] / np.where(size > 0, size, 1.0)
        return float(((left[:, -1] - x @ np.linalg.lstsq(x, left[:, -1])[0]) ** 2).sum())

    @cached_property
    def relative(self) -> bool:
        """Whether sds are taken in units of σ, which is then integrated by itself."""
        broad = all(is_broad(prior) for prior in (*self.sd_priors, self.sigma))
        return self.integrate_sigma and broad and self.residual_df > 0

    def with_sigma_on_lattice(self) -> Self:
        """The same model, whose σ has an axis of the lattice."""
        return replace(self, integrate_sigma=False)

    @cached_property
    def typical_sigma(self) -> float:
        """About the residual sd; 1 if it is known."""
        if isinstance(self.sigma, Fixed):
            return self.sigma.value
        if self.residual_df > 0 and self.residual_square > 0:
            return math.sqrt(self.residual_square / self.residual_df)
        return math.sqrt(float((self.rows.residual**2).sum()) / self.n_rows) or 1.0

    def less_anchor(self) -> CrossedModel:
        """The model of the coefficients less the design's anchor."""
        return replace(self, mean=self.mean - self.design.anchor)


def rank_of(left: Floats, size: Floats, tolerance: float = 1e-8) -> int:
    """Rank of columns (N, k) of these sizes before something was taken from them."""
    if not left.shape[1]:
        return 0
    scaled = left / np.where(size > 0, size, 1.0)
    return int(np.count_nonzero(np.linalg.svd(scaled, compute_uv=False) > tolerance))
