"""Groups with several effects: what is observed, and what is assumed.

    y_i = z_i'θ_group + x_i'β + N(0, σ²/ω_i),    θ_u = θ_parent + N(0, T_ℓ),

with any number of nested levels, T_ℓ of sds τ and correlations ρ, and the root's θ coefficients:
see :mod:`hiermodels.exact.kernels.blocks.blocks`.  Where strata of the rows have residual sds of
their own, σ is that of the last one, and σ_k those of the others.  All is arrays: neither frames
nor specifications.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.errors import SpecError
from hiermodels.exact.blocks.contrasts import coefficient_rank, contrasts
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.covariance import FlatCovariance
from hiermodels.model.priors.variance import Fixed, InverseGamma

MAX_SHAPE = 4.0  # of an inverse gamma that does not tie σ to an sd


@dataclass(frozen=True)
class CovariancePrior:
    """Prior of one level's covariance T.

    Attributes
    ----------
    sds : tuple of VariancePrior or None
        One for each of the p effects; None for one that does not vary at this level.
    eta : float, optional
        Of LKJ(η), ``p(correlations) ∝ det^(η − 1)``; by default there are no correlations.
    """

    sds: tuple[VariancePrior | None, ...]
    eta: float | None = None

    def __post_init__(self) -> None:
        if self.eta is not None and not (self.eta > 0 and math.isfinite(self.eta)):
            raise SpecError(f"LKJ(eta={self.eta!r}): expected a finite number above 0")

    @classmethod
    def flat(cls, p: int) -> Self:
        """Flat on the covariance matrix itself, ``p(T) = 1``, up to a constant."""
        return cls(FlatCovariance().sd_priors(p), 1.0)

    @cached_property
    def varying(self) -> tuple[int, ...]:
        """Which effects vary at this level."""
        return tuple(j for j, prior in enumerate(self.sds) if prior is not None)

    @property
    def n_correlations(self) -> int:
        """Number of correlations."""
        e = len(self.varying)
        return 0 if self.eta is None else e * (e - 1) // 2


@dataclass(frozen=True, eq=False)
class BlockModel:
    """What is observed, and the priors.

    Attributes
    ----------
    blocks : Blocks
    levels : tuple of CovariancePrior
        The outermost first.
    sigma : VariancePrior
        ``Fixed(1)`` if the rows' variances are known, 1/ω.
    mean, precision : (c,)
        Of the normal priors of the root's coefficients, then of β; precision 0 is flat, with
        density 1.
    integrate_sigma : bool
        Whether σ is integrated by itself where it can be: see :attr:`relative`.
    names : tuple of str
        What messages call each sd τ, the outermost level first, then those of strata; by default
        by numbers.
    columns : tuple of str
        What messages call the groups of each level; by default by numbers.
    effects : tuple of str
        What messages call the p effects.
    strata : tuple of VariancePrior
        Of the residual sds σ_k of all strata but the last, whose prior is ``sigma``.
    sigma_name : str
        What messages call σ.
    """

    blocks: Blocks
    levels: tuple[CovariancePrior, ...]
    sigma: VariancePrior
    mean: Floats
    precision: Floats
    integrate_sigma: bool = True
    names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    strata: tuple[VariancePrior, ...] = ()
    sigma_name: str = "sigma"

    def __post_init__(self) -> None:
        blocks, c = self.blocks, self.blocks.n_coefficients
        if len(self.levels) != len(blocks.sizes) or self.mean.shape != self.precision.shape != (c,):
            raise SpecError(
                f"expected priors of {len(blocks.sizes)} levels and of {c} coefficients; found "
                f"{len(self.levels)}, and shapes {self.mean.shape} and {self.precision.shape}"
            )
        if any(len(level.sds) != blocks.p for level in self.levels):
            found = [len(level.sds) for level in self.levels]
            raise SpecError(f"expected {blocks.p} effects at each level; found {found}")

    @classmethod
    def of(cls, blocks: Blocks, levels: tuple[CovariancePrior, ...], sigma: VariancePrior) -> Self:
        """With flat priors of all coefficients."""
        flat = np.zeros(blocks.n_coefficients)
        return cls(blocks, levels, sigma, flat, flat)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.blocks.n_rows

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients, c."""
        return self.blocks.n_coefficients

    @property
    def log_weight(self) -> float:
        """``Σ log ω`` of the rows."""
        return self.blocks.log_weight

    @cached_property
    def sds(self) -> tuple[tuple[int, int, VariancePrior], ...]:
        """Level, effect and prior of each sd τ, the outermost level first."""
        return tuple(
            (i, j, prior)
            for i, level in enumerate(self.levels)
            for j, prior in enumerate(level.sds)
            if prior is not None
        )

    def sd_name(self, sd: int) -> str:
        """What messages call an sd, σ being the one behind the last."""
        if sd == len(self.sd_priors):
            return self.sigma_name
        if self.names:
            return self.names[sd]
        if sd >= len(self.sds):
            return f"the residual sd of stratum {sd - len(self.sds)}"
        level, effect, _ = self.sds[sd]
        return f"the sd of effect {effect} at level {level}"

    @property
    def innermost(self) -> int:
        """The last level of groups: cells of strata, which have no effects, may be below it."""
        return max(i for i, level in enumerate(self.levels) if level.varying)

    def groups_name(self, level: int) -> str:
        """What messages call the groups of a level, with their number."""
        name = repr(self.columns[level]) if self.columns else f"level {level}'s"
        return f"{self.blocks.sizes[level]:,} {name} groups"

    @property
    def sd_priors(self) -> tuple[VariancePrior, ...]:
        """Prior of each sd τ, then of each σ_k but the last."""
        return (*(prior for _, _, prior in self.sds), *self.strata)

    @cached_property
    def correlations(self) -> tuple[tuple[int, int, int], ...]:
        """Level and the two effects of each correlation ρ."""
        return tuple(
            (i, level.varying[b], level.varying[a])
            for i, level in enumerate(self.levels)
            if level.eta is not None
            for a in range(len(level.varying))
            for b in range(a)
        )

    def columns_of(
        self, sds: Sequence[tuple[int, int, VariancePrior]]
    ) -> tuple[tuple[int, Floats], ...]:
        """Levels, and the columns (p, k) there, of the effects of some sds."""
        levels = sorted({level for level, _, _ in sds})
        own = [[j for level, j, _ in sds if level == i] for i in levels]
        unit = np.eye(self.blocks.p)
        return tuple((i, unit[:, j]) for i, j in zip(levels, own, strict=True))

    @property
    def flat(self) -> Flags:
        """Which coefficients have flat priors; (c,)."""
        return self.precision == 0

    @cached_property
    def residual_df(self) -> int:
        """Number of rows beyond those that coefficients and effects can fit."""
        some = [sd for sd in self.sds if sd[2] != Fixed(0)]
        every = np.ones_like(self.flat)
        effects = contrasts(self.blocks, self.columns_of(some), every).number
        return self.blocks.n_rows - coefficient_rank(self.blocks) - effects

    @cached_property
    def by_stratum(self) -> tuple[BlockModel, ...]:
        """The models of the rows of each stratum alone; the model itself where there are none."""
        size = len(self.strata) + 1
        if size == 1:
            return (self,)
        names = self.names[: len(self.sds)]
        return tuple(
            replace(
                self,
                blocks=self.blocks.only(some),
                strata=(),
                sigma=prior,
                names=names,
                sigma_name=self.sd_name(len(self.sds) + k),
            )
            for k, (some, prior) in enumerate(
                zip(np.eye(size, dtype=bool), (*self.strata, self.sigma), strict=True)
            )
        )

    @cached_property
    def relative(self) -> bool:
        """Whether sds are taken in units of σ, which is then integrated by itself.

        Not where a prior has a jump, or is so narrow that it ties σ to an sd: those with an end at
        a largest sd, and inverse gammas of a large shape.  Nor where σ may go to 0 while the sds do
        not, as without residual degrees of freedom of its own stratum.
        """
        broad = all(is_broad(prior) for prior in (*self.sd_priors, self.sigma))
        return self.integrate_sigma and broad and self.by_stratum[-1].residual_df > 0

    def with_sigma_on_lattice(self) -> Self:
        """The same model, whose σ has an axis of the lattice."""
        return replace(self, integrate_sigma=False)

    @property
    def flat_coefficients(self) -> bool:
        """Whether all coefficients have flat priors."""
        return not self.precision.any()

    @cached_property
    def typical_sigma(self) -> float:
        """About the residual sd, of the last stratum; 1 if it is known."""
        if isinstance(self.sigma, Fixed):
            return self.sigma.value
        if self.strata:
            return self.by_stratum[-1].typical_sigma
        blocks = self.blocks
        x, y = blocks.rest[:, :-1], blocks.rest[:, -1]
        square = float(y @ y - y @ x @ np.linalg.lstsq(x, y)[0]) if len(y) else 0.0
        if square > 0 and self.residual_df > 0:
            return math.sqrt(square / self.residual_df)
        return math.sqrt(float((self.left_by_coefficients**2).sum()) / blocks.n_rows) or 1.0

    @cached_property
    def left_by_coefficients(self) -> Floats:
        """What least squares with common coefficients leave of D_y; (p, g)."""
        blocks = self.blocks
        fixed = blocks.above[:, blocks.fixed]
        x = np.concatenate([fixed, blocks.outcome[:, :-1]], axis=1)
        rows, y = x.transpose(0, 2, 1).reshape(-1, x.shape[1]), blocks.outcome[:, -1].reshape(-1)
        left = y - rows @ np.linalg.lstsq(rows, y)[0]
        return left.reshape(blocks.p, -1)


def is_broad(prior: VariancePrior) -> bool:
    """Whether a prior of an sd is smooth and wide."""
    if isinstance(prior, InverseGamma):
        return prior.alpha <= MAX_SHAPE
    return not math.isfinite(prior.upper) and math.isfinite(prior.lower_tail)
