"""What the existence of a posterior of counts depends on: which groups bound what, and priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.spec import Spec
from hiermodels.numerics.cones import cone_span, unit_columns


@dataclass(frozen=True)
class Wording:
    """How messages call what the arrays are about.

    Attributes
    ----------
    groups : tuple of str
        Of each level, the outermost first, such as ``"'hospital' groups"``.
    zero, full : str
        What makes a group's likelihood fall above only, and below only: ``"deaths = 0"``.
    mean_prior, sd_prior : str
        Proper priors to propose, of a sensible width on the scale of the link.
    """

    groups: tuple[str, ...]
    zero: str = "a count of 0"
    full: str = "a count of all trials"
    mean_prior: str = "Normal(0, 2.5)"
    sd_prior: str = "HalfNormal(1)"

    @classmethod
    def of(cls, spec: Spec) -> Wording:
        """That of a specification's columns."""
        groups = tuple(f"{level.column!r} groups" for level in spec.levels)
        y, columns = spec.outcome, spec.family.columns
        if spec.family.link == "identity":
            return cls(groups, mean_prior="Normal(mean=…, sd=…)", sd_prior="HalfNormal(sd=…)")
        if columns in (("trials",), ("exposure",)):
            return cls(groups, f"{y} = 0", f"{y} = {spec.columns.get('trials', 1)}")
        return cls(groups, f"the lowest possible {y}", f"the highest possible {y}")


@dataclass(frozen=True)
class LeafDesign:
    """All that the existence of a posterior of counts depends on.

    Attributes
    ----------
    falls_below, falls_above : (k,) bool
        Whether each group's likelihood falls to 0 as its linear predictor goes to −∞, to +∞.
    x : (k, p)
        A column for each coefficient, the intercept's first where there is one.
    coefficients : tuple of str
        Their p names, such as ``("mu", "beta[age]")``.
    is_flat : (p,) bool
        Whether each has a flat prior.
    has_intercept : bool
    priors : mapping of str to VariancePrior
        Of the sds by their names, from the outermost level to the innermost: one, or two.
    labels : sequence of str
        Of the k groups.
    wording : Wording
    parent : (k,) int, optional
        With two sds, number of each group's outer group.
    n_parents : int
        Number of outer groups.
    """

    falls_below: Flags
    falls_above: Flags
    x: Floats
    coefficients: tuple[str, ...]
    is_flat: Flags
    has_intercept: bool
    priors: Mapping[str, VariancePrior]
    labels: Sequence[str]
    wording: Wording
    parent: Indices | None = None
    n_parents: int = 0

    @cached_property
    def is_informative(self) -> Flags:
        """Whether each group's likelihood falls on both sides; (k,)."""
        return self.falls_below & self.falls_above

    @cached_property
    def flat_x(self) -> Floats:
        """Columns of the coefficients with flat priors, each with the largest entry 1; (k, q)."""
        return unit_columns(self.x[:, self.is_flat])

    @cached_property
    def flat_names(self) -> tuple[str, ...]:
        """Names of the coefficients with flat priors."""
        return tuple(n for n, flat in zip(self.coefficients, self.is_flat, strict=True) if flat)

    @property
    def intercept_is_flat(self) -> bool:
        """Whether there is an intercept with a flat prior."""
        return self.has_intercept and bool(self.is_flat[0])

    @property
    def flat_slopes(self) -> Floats:
        """``flat_x`` without the intercept's column."""
        return self.flat_x[:, int(self.intercept_is_flat) :]

    def separation(self, used: Flags) -> tuple[Floats, Flags]:
        """Directions of some of the flat coefficients along which the likelihood never falls.

        Parameters
        ----------
        used : (q,) bool

        Returns
        -------
        basis : (coefficients that are used, d)
            In units in which each column's largest entry is 1; d = 0 if there are none.
        moves : (k,) bool
            Whether each group's linear predictor differs along them.
        """
        return cone_span(self.flat_x[:, used], self.falls_below, self.falls_above)
