"""Three levels with one-dimensional leaves: what is observed, and what is assumed."""

from __future__ import annotations

from dataclasses import dataclass

from hiermodels.core.arrays import Floats, Indices
from hiermodels.errors import SpecError
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
    def fixed_sds(self) -> tuple[float | None, float | None]:
        """Values of κ and τ, where they are known."""
        outer, inner = self.outer_prior, self.prior
        return (
            outer.value if isinstance(outer, Fixed) else None,
            inner.value if isinstance(inner, Fixed) else None,
        )

    @property
    def constant(self) -> float:
        """Logarithm of the product of all leaves' suprema."""
        return float(self.leaves.constant.sum())
