"""What is assumed: levels, priors, known or unknown σ.  Never how it is computed.

Levels and names (``outer`` and ``inner`` are columns of the data)::

    no groups       y ~ N(theta, sigma²)                             (the conjugate model)
                    y ~ N(mu + x'beta, sigma²)                       (regression)
    one column      y ~ N(theta[inner], sigma²)   theta ~ N(mu, tau²)
    two columns     y ~ N(theta[inner], sigma²)   theta ~ N(mu[outer], tau²)   mu ~ N(lam, kappa²)

Without an intercept, the mean at the top is 0 and no parameter: ``theta ~ N(0, tau²)``,
``mu ~ N(0, kappa²)``, and in a regression ``y ~ N(x'beta, sigma²)``.

Several effects of a group, such as an intercept and a slope, are vectors, with a covariance in
place of tau².  Three columns of groups, and slopes beside other groups, have names by column::

    theta_class[class] ~ N(theta_school[school], tau_class²)    theta_school ~ N(mu, tau_school²)

Crossed ones, too, and their effects are deviations: see :mod:`hiermodels.model.crossing`.

In place of a normal distribution, rows may have that of another family, such as counts, with
``theta[inner] + x'beta`` for their linear predictor on the scale of its link.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any

from hiermodels.core.codec import storable
from hiermodels.core.names import COEFFICIENT_DIM, ROOT
from hiermodels.errors import SpecError
from hiermodels.families.family import Family
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.families.registry import NORMAL
from hiermodels.model.crossing import describe_crossed, require_nesting
from hiermodels.model.family_columns import require_normal, require_suited
from hiermodels.model.level import (
    Level,
    Varying,
    describe_levels,
    effect_named,
    levels_of,
    require_varying,
    with_priors,
)
from hiermodels.model.level_priors import complete_hierarchy, spelled_out
from hiermodels.model.names_of_columns import require_kinds, require_names
from hiermodels.model.nests import Nesting
from hiermodels.model.priors.base import Prior
from hiermodels.model.priors.defaults import (
    complete_one_population,
    complete_regression,
    describe_prior,
)
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.sampling import Sampling, describe_errors, require_sampling
from hiermodels.model.standard_errors import Scale, error_role
from hiermodels.model.stated_priors import StatedPriors


@storable
@dataclass(frozen=True)
class Spec(StatedPriors):
    """What is assumed of the rows, of their groups and of all parameters.

    It names columns and holds no data; two that are equal state the same model.

    Parameters
    ----------
    outcome : str
        Column of the outcome y.
    groups : tuple of str
        Columns of the group labels, from the outermost to the innermost level.
    se : str, optional
        Column that says the known standard errors; without it σ is unknown.
    covariates : tuple of str
        Names of the columns of the design, the intercept not among them.
    priors : mapping of str to Prior
        By parameter name, ``beta`` for all coefficients; what is not named has its default:
        ``Flat()`` for means and coefficients, ``FlatVariance()`` for group-level variances,
        ``Jeffreys()`` for an unknown residual variance.
    se_scale : {"sd", "variance"}
        Whether the column ``se`` holds standard errors or their squares, variances.
    has_intercept : bool
        Whether the mean at the top is a parameter; it is 0 if not.
    family : Family
        Distribution of the rows given their linear predictors.
    columns : mapping of str to str
        Columns of the data that the family needs beside the outcome, by what they are to it, such
        as ``{"trials": "cases"}``; and ``"offset"``, a known part of the linear predictor.
    varying : tuple of Varying
        What varies between the groups of each level, the outermost first; by default intercepts.
    sampling : float or "matrix", optional
        Correlation of known errors within outermost groups; ``"matrix"`` if one is in the data.
    strata : tuple of str
        Labels of the strata of the rows, whose column is ``columns["residual_by"]``: rows of each
        have a residual sd of their own, ``sigma[label]``.
    nesting : tuple of int
        Of crossed groups: index of the column that each is nested in, or -1.

    Raises
    ------
    SpecError
        If a prior is named for a parameter that the model has not, or is of the wrong kind.
    """

    outcome: str
    groups: tuple[str, ...]
    se: str | None = None
    covariates: tuple[str, ...] = ()
    priors: Mapping[str, Prior] = field(default_factory=dict)
    se_scale: Scale = "sd"
    has_intercept: bool = True
    family: Family = NORMAL
    columns: Mapping[str, str] = field(default_factory=dict)
    varying: tuple[Varying, ...] = ()
    sampling: Sampling | None = None
    strata: tuple[str, ...] = ()
    nesting: Nesting = ()

    def __post_init__(self) -> None:
        require_kinds(vars(self))
        require_suited(self.family, self.columns, self.groups, self.nesting, self.se_scale, self.se)
        require_varying(self.varying, self.groups, self.covariates)
        require_sampling(self.sampling, self.family, self.columns, self.groups, self.se)
        beside = self.varying, self.family, self.columns, self.sampling
        require_nesting(self.nesting, self.groups, *beside)
        if self.is_blocks:
            require_normal(self.family, self.columns)
        if not (self.has_intercept or self.groups or self.covariates):
            raise SpecError(
                f"{self.outcome}: a model without intercept, groups and covariates has no mean to "
                f"learn; give it one of them"
            )
        roles = {"outcome": self.outcome, error_role(self.se_scale): self.se or "", **self.columns}
        if self.strata:
            require_names((roles.pop(STRATA),), {}, self.variables, tuple(self.coords))
        require_names(self.groups, roles, self.variables, tuple(self.coords))
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns or {})))
        priors = self._complete(self.priors or {})
        object.__setattr__(self, "priors", MappingProxyType(priors))

    def __reduce__(self) -> tuple[type[Spec], tuple[Any, ...]]:
        """Copies and other processes make it anew: Python does not copy read-only mappings."""
        values = (getattr(self, own.name) for own in fields(self))
        return Spec, tuple(dict(v) if isinstance(v, Mapping) else v for v in values)

    @property
    def has_sigma(self) -> bool:
        """Whether the rows have an unknown standard deviation, ``sigma``."""
        return not self.has_known_errors and "sd" in self.family.columns

    @property
    def has_known_errors(self) -> bool:
        """Whether the errors of the rows have known sds or covariances."""
        return self.se is not None or self.sampling is not None

    @property
    def is_normal(self) -> bool:
        """Whether rows are normal given their linear predictors."""
        return self.family.name == NORMAL.name

    @property
    def structure(self) -> str:
        """How the groups hang together."""
        return "crossed" if self.is_crossed else "nested"

    @property
    def is_crossed(self) -> bool:
        """Whether some columns of groups are not nested in one another."""
        return bool(self.nesting)

    @property
    def is_regression(self) -> bool:
        """Whether there are no groups, but covariates, known standard errors or weights."""
        return not self.groups and bool(self.se or self.covariates or WEIGHTS in self.columns)

    @property
    def has_slopes(self) -> bool:
        """Whether groups have other effects than an intercept."""
        return any(not own.is_intercept for own in self.varying)

    @property
    def fixed_covariates(self) -> tuple[str, ...]:
        """Covariates whose coefficients are the same in all groups."""
        vary = {term for own in self.varying for term in own.terms}
        return tuple(name for name in self.covariates if name not in vary)

    @property
    def is_blocks(self) -> bool:
        """Whether groups have slopes or many columns, or rows strata or correlated errors."""
        more = self.sampling is not None or bool(self.strata)
        return not self.is_crossed and (self.has_slopes or len(self.groups) > 2 or more)

    @property
    def intercept(self) -> str | None:
        """Name of the mean at the top; None if it is 0."""
        if not self.has_intercept:
            return None
        one = self.is_regression or self.is_crossed or self.has_slopes or len(self.groups) > 2
        return "mu" if one else ("theta", "mu", "lam")[len(self.groups)]

    @property
    def top(self) -> tuple[str, ...]:
        """The intercept's name, or nothing."""
        return () if self.intercept is None else (self.intercept,)

    @property
    def means(self) -> tuple[str, ...]:
        """Names of the intercept, if there is one, and of the coefficients of the covariates."""
        return (*self.top, *self.coefficients)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels of groups, from the outermost to the innermost."""
        return tuple(with_priors(level, self.priors) for level in self.named_levels)

    @cached_property
    def named_levels(self) -> tuple[Level, ...]:
        """The same without their priors."""
        return levels_of(self.groups, self.varying, by_column=self.is_crossed)

    @property
    def spreads(self) -> tuple[str, ...]:
        """Names of the group-level sds, from the groups upwards."""
        return tuple(sd for level in reversed(self.named_levels) for sd in level.sds)

    @property
    def sds(self) -> tuple[str, ...]:
        """Names of all unknown sds: the group-level ones upwards, then the residual ones."""
        return (*self.spreads, *self.residual_sds)

    @property
    def residual_sds(self) -> tuple[str, ...]:
        """``sigma`` if it is unknown, or of each stratum, such as ``sigma[Female]``."""
        if not self.has_sigma:
            return ()
        return tuple(f"sigma[{label}]" for label in self.strata) or ("sigma",)

    @property
    def fixed(self) -> dict[str, float]:
        """Sds that are fixed by their priors, and at which values."""
        priors = {name: self.priors.get(name) for name in self.sds}
        return {name: float(p.value) for name, p in priors.items() if isinstance(p, Fixed)}

    @property
    def locations(self) -> tuple[str, ...]:
        """Names of what depends on the x it is shown at: means of groups, and the intercept."""
        return (*(() if self.is_crossed else self.effects), *self.top)

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of the effects of groups and of their parents, from the groups upwards."""
        return tuple(level.effect for level in reversed(self.named_levels))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that have a prior, from the top downwards."""
        of_levels = (name for level in self.named_levels for name in level.parameters)
        return (*self.top, *of_levels, *self.coefficients, *self.residual_sds)

    @property
    def coefficients(self) -> tuple[str, ...]:
        """Names of the coefficients of the covariates."""
        return tuple(f"beta[{name}]" for name in self.covariates)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the posterior's variables, from the top downwards."""
        names = [*self.top]
        for level in self.named_levels:
            names += level.dims_by_name
        beta = ("beta",) if self.covariates else ()
        above = (*names, *beta, *(("sigma",) if self.has_sigma else ()))
        return (*above, *self.on_outcome_scale)

    @property
    def on_outcome_scale(self) -> tuple[str, ...]:
        """Name of the groups' effects on the outcome's scale, such as ``p``; or nothing."""
        return (self.family.effect,) if self.family.effect and self.groups else ()

    @property
    def distinct_variables(self) -> tuple[str, ...]:
        """Names of the variables but those that are a monotone function of one other.

        Effects on the outcome's scale are, without covariates: their ranks and quantiles say
        nothing new.
        """
        copies = () if self.covariates else self.on_outcome_scale
        return tuple(name for name in self.variables if name not in copies)

    def dims(self, name: str) -> tuple[str, ...]:
        """Dimensions of a variable: the column of its groups, or none for a scalar."""
        dims = {"beta": (COEFFICIENT_DIM,)} | dict.fromkeys(self.on_outcome_scale, self.groups[-1:])
        for level in self.named_levels:
            dims |= level.dims_by_name
        if self.strata:
            dims["sigma"] = (self.columns[STRATA],)
        return dims.get(name, ())

    @cached_property
    def coords(self) -> dict[str, tuple[str, ...]]:
        """Coordinates of dimensions that are neither groups nor coefficients."""
        return {dim: labels for lv in self.named_levels for dim, labels in lv.coords.items()}

    def level_of(self, name: str) -> int:
        """Number of the level with the effects of this name; ``ROOT`` for the intercept."""
        if name in self.on_outcome_scale:
            return len(self.levels) - 1
        return ROOT if name in self.top else [level.effect for level in self.levels].index(name)

    def named[Item](self, items: Sequence[Item]) -> dict[str, Item]:
        """Give items of the root and of each level, in this order, the names of the locations.

        Where there is no intercept the root's is left out.
        """
        names = (self.intercept, *(level.effect for level in self.levels))
        return {name: item for name, item in zip(names, items, strict=True) if name}

    def effect_of(self, level: str | None = None) -> str:
        """Name of the effects of a level, given by this name or by its column.

        By default the innermost level's.  Those on the outcome's scale have a name only.

        Raises
        ------
        SpecError
            If there is no such level.
        """
        return effect_named(level, self.named_levels, self.on_outcome_scale)

    @property
    def shown_effect(self) -> str:
        """Name of the innermost groups' effects as people see them: on the outcome's scale."""
        return next(iter(self.on_outcome_scale), self.levels[-1].effect)

    def describe(self) -> list[str]:
        """Return the model, a line for each distribution, from the rows upwards."""
        describe = describe_crossed if self.is_crossed else describe_levels
        effects, lines = describe(self.named_levels, self.intercept or "0")
        terms = effects if self.groups else list(self.top)
        terms += ["x'beta"] if self.fixed_covariates else []
        terms += [self.columns["offset"]] if "offset" in self.columns else []
        sd, known = describe_errors(self.se, self.se_scale, self.sampling, self.groups)
        rows = self.family.describe(" + ".join(terms), {**self.columns, "sd": sd})
        return [f"{self.outcome} ~ {rows}{known}", *reversed(lines)]

    def describe_priors(self) -> dict[str, str]:
        """Return each parameter's prior with its scale."""
        return {name: describe_prior(name, prior) for name, prior in self.priors.items()}

    def _complete(self, given: Mapping[str, Prior]) -> dict[str, Prior]:
        """Check the priors that were given and add the defaults."""
        if not self.groups and not self.is_regression:
            return complete_one_population(given)
        several = {"beta": self.coefficients, "sigma": self.residual_sds if self.strata else ()}
        several["tau"] = self.spreads if self.is_crossed else ()
        given = spelled_out(given, self.parameters, several, self.named_levels)
        if self.is_regression:
            return complete_regression(self.parameters, given, known_errors=bool(self.se))
        return complete_hierarchy(self.parameters, given, self.named_levels, self.is_blocks)
