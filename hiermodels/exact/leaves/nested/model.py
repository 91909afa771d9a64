"""Three levels with one-dimensional leaves: what is observed, and what is assumed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.errors import SpecError
from hiermodels.exact.leaf_design import LeafDesign, Wording
from hiermodels.exact.leaf_propriety import OuterCone, outer_cone
from hiermodels.exact.leaves.model import log_prior_of_coefficients
from hiermodels.families.leaves import Leaves
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed


@dataclass(frozen=True, eq=False)
class NestedModel:
    """k groups in S outer groups: ``θ_i ~ N(μ_s(i) + x_i'β, τ²)``, ``μ_s ~ N(λ, κ²)``.

    Attributes
    ----------
    leaves : Leaves
        k of them.
    parent : (k,)
        The outer group of each, from 0 to S − 1; each has a group.
    x : (k, p)
        Covariates, with a column of ones for λ if there is one; without it λ is 0.
    has_intercept : bool
        Whether the first of the coefficients is λ.
    mean, precision : (p,)
        Of the normal prior of each coefficient; precision 0 is flat, with density 1.
    outer_prior, prior : VariancePrior
        Of κ and of τ; ``Fixed(0)`` makes effects equal to their means.
    """

    leaves: Leaves
    parent: Indices
    x: Floats
    has_intercept: bool
    mean: Floats
    precision: Floats
    outer_prior: VariancePrior
    prior: VariancePrior

    def __post_init__(self) -> None:
        k, p = len(self.leaves), len(self.mean)
        if self.x.shape != (k, p) or self.precision.shape != (p,) or self.parent.shape != (k,):
            raise SpecError(
                f"expected covariates and outer groups of {k} groups with {p} coefficients, and a "
                f"precision for each; found shapes {self.x.shape}, {self.parent.shape} and "
                f"{self.precision.shape}"
            )

    @property
    def n_outer(self) -> int:
        """Number of outer groups, S."""
        return int(self.parent.max()) + 1

    @property
    def slopes_x(self) -> Floats:
        """Covariates without the intercept's; (k, q)."""
        return self.x[:, int(self.has_intercept) :]

    @property
    def n_slopes(self) -> int:
        """Number of coefficients β, q."""
        return self.slopes_x.shape[1]

    @cached_property
    def middle(self) -> Floats:
        """Covariates near all groups', where outer effects hang least on β; (q,)."""
        return self.slopes_x.mean(axis=0)

    def mean_at_middle(self, gamma: Floats) -> Floats:
        """Mean of outer effects at the middle, at coefficients (J, p); (J,)."""
        first = gamma[:, 0] if self.has_intercept else np.zeros(len(gamma))
        return first + self.slopes_of(gamma) @ self.middle if self.n_slopes else first

    def slopes_of(self, gamma: Floats) -> Floats:
        """β among the coefficients (J, p); (J, q)."""
        return gamma[:, int(self.has_intercept) :]

    @property
    def fixed_sds(self) -> tuple[float | None, float | None]:
        """Values of κ and τ, where they are known."""
        outer, inner = self.outer_prior, self.prior
        return (
            outer.value if isinstance(outer, Fixed) else None,
            inner.value if isinstance(inner, Fixed) else None,
        )

    def with_fixed_sd(self, level: int, value: float) -> NestedModel:
        """The same with κ (level 0) or τ (level 1) known."""
        fixed = Fixed(value)
        return replace(self, outer_prior=fixed) if level == 0 else replace(self, prior=fixed)

    @property
    def constant(self) -> float:
        """Logarithm of the product of all leaves' suprema."""
        return float(self.leaves.constant.sum())

    def outer_sums(self, values: Floats) -> Floats:
        """Sums of values (k,) over the groups of each outer one; (S,)."""
        return np.bincount(self.parent, values, self.n_outer)

    def log_prior(self, gamma: Floats) -> Floats:
        """Log prior density of the coefficients (J, p); (J,)."""
        return log_prior_of_coefficients(gamma, self.mean, self.precision)

    @cached_property
    def is_inside(self) -> Flags:
        """Which groups' leaves fall to both sides; (k,)."""
        return self.leaves.falls_below & self.leaves.falls_above

    @cached_property
    def _cone(self) -> OuterCone:
        """Where outer groups and coefficients with flat priors may go as κ grows alone."""
        design = LeafDesign(
            falls_below=self.leaves.falls_below,
            falls_above=self.leaves.falls_above,
            x=self.x,
            coefficients=tuple(map(str, range(len(self.mean)))),
            is_flat=self.precision == 0,
            has_intercept=self.has_intercept,
            priors={},
            labels=(),
            wording=Wording(()),
            parent=self.parent,
            n_parents=self.n_outer,
        )
        return outer_cone(design)

    @cached_property
    def _contrasts(self) -> tuple[int, int]:
        """D of the rule, of κ and of τ."""
        flat = self.precision == 0
        top = int(self.has_intercept and flat[0])
        outer = self.n_outer - self._cone.dimension - top
        return outer, int(self.is_inside.sum()) - int(flat.sum())

    def _falls(self, lowest: int, along: int, order: int) -> bool:
        """Whether the density falls faster than what grows as an sd rises, to a power.

        As all sds from the one of the ``lowest`` level upwards grow, or some of them and that
        ``along`` which is meant, the density has the exponent of the rule of
        :mod:`hiermodels.exact.leaf_propriety`.
        """
        priors, fixed = (self.outer_prior, self.prior), self.fixed_sds
        if fixed[lowest] is not None or fixed[along] is not None:
            return True
        tail = priors[lowest].upper_tail
        if lowest == 1 and fixed[0] is None:
            above = priors[0].upper_tail
            tail += above if along == 0 else max(0.0, above)
        return tail + (order - self._contrasts[lowest]) / 2 < 0

    def sd_moment_exists(self, level: int, order: int) -> bool:
        """Whether κ (level 0) or τ (level 1) has a finite moment of an order."""
        return self._falls(1, level, order) and (level == 1 or self._falls(0, 0, order))

    def coefficient_moments_exist(self, order: int) -> Flags:
        """Which coefficients have a moment of an order: those with a normal prior, or all; (p,)."""
        return (self.precision > 0) | (self._falls(1, 1, order) and self._falls(0, 0, order))

    def effect_moments_exist(self, level: int, order: int) -> Flags:
        """Which effects have a moment of an order: of outer groups (S,), or of groups (k,).

        Those of groups are at their own covariates.
        """
        alone = self._falls(0, 0, order)
        if level == 0:
            with_tau = self._falls(1, 1, order) and self._falls(1, 0, order)
            return (~self._cone.moves_outer | alone) & with_tau
        with_kappa = ~self._cone.moves_predictor | alone
        return self.is_inside | (with_kappa & self._falls(1, 1, order))
