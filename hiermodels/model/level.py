"""The levels of a specification, from the outermost groups to the innermost ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hiermodels.core.codec import storable
from hiermodels.core.messages import short
from hiermodels.core.names import EFFECT_DIM, PAIR_DIM
from hiermodels.core.suggestions import did_you_mean
from hiermodels.errors import SpecError
from hiermodels.model.priors.base import Prior, VariancePrior
from hiermodels.model.priors.covariance import LKJ, FlatCovariance

INTERCEPT = "Intercept"
# Of the effects and of their sd, from the outermost level to the innermost, of intercepts alone.
NAMES = (("mu", "kappa"), ("theta", "tau"))
MAX_LEVELS = 3


@storable
@dataclass(frozen=True)
class Varying:
    """What varies between the groups of a level.

    Attributes
    ----------
    terms : tuple of str
        ``"Intercept"`` first, if that varies, then terms of a formula or columns of the design.
    correlated : bool
        Whether the effects of a group are correlated.
    """

    terms: tuple[str, ...] = (INTERCEPT,)
    correlated: bool = True

    @property
    def is_intercept(self) -> bool:
        """Whether nothing varies but the intercept."""
        return self.terms == (INTERCEPT,)


@dataclass(frozen=True)
class Level:
    """What is assumed of the groups of one level.

    Intercepts that vary alone are ``effect ~ N(parent's effect, sd²)``; several effects of a group
    have a multivariate normal distribution around those of its parent.

    Attributes
    ----------
    column : str
        Column of the groups' labels.
    effect : str
        Name of the groups' effects, such as ``"theta"``.
    sd : str
        Name of their sd around their parents', such as ``"tau"``.
    varying : Varying
        What has an effect of its own in each group.
    dims : (str, str)
        Dimensions of several effects, and of pairs of them.
    priors : tuple of VariancePrior
        Of the sd of each effect.
    eta : float, optional
        Of the correlations' prior LKJ(η); None without correlations.
    """

    column: str
    effect: str
    sd: str
    varying: Varying = Varying()
    dims: tuple[str, str] = (EFFECT_DIM, PAIR_DIM)
    priors: tuple[VariancePrior, ...] = ()
    eta: float | None = None

    @property
    def terms(self) -> tuple[str, ...]:
        """What has an effect of its own in each group."""
        return self.varying.terms

    @property
    def has_slopes(self) -> bool:
        """Whether more than the intercept varies, or something else."""
        return not self.varying.is_intercept

    @property
    def prior(self) -> VariancePrior:
        """Of the sd of intercepts that vary alone."""
        (prior,) = self.priors
        return prior

    @property
    def sds(self) -> tuple[str, ...]:
        """Name of each effect's sd: ``tau``, or ``tau[Intercept]`` and ``tau[Days]``."""
        if not self.has_slopes:
            return (self.sd,)
        return tuple(f"{self.sd}[{term}]" for term in self.terms)

    @property
    def correlation(self) -> str | None:
        """Name of the correlation, or of several, such as ``"rho"``; None without."""
        if not self.varying.correlated or len(self.terms) < 2:
            return None
        return "rho" + self.sd.removeprefix("tau")

    @property
    def pairs(self) -> tuple[str, ...]:
        """Which effects each correlation is of, row by row below the diagonal."""
        if not self.correlation:
            return ()
        terms = self.terms
        return tuple(f"{terms[j]}, {terms[i]}" for i in range(len(terms)) for j in range(i))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of what has a prior: sds, then correlations."""
        return (*self.sds, *((self.correlation,) if self.correlation else ()))

    @property
    def dims_by_name(self) -> dict[str, tuple[str, ...]]:
        """Dimensions of the level's variables."""
        if not self.has_slopes:
            return {self.sd: (), self.effect: (self.column,)}
        effect, pair = self.dims
        dims: dict[str, tuple[str, ...]] = {self.sd: (effect,)}
        if self.correlation:
            dims[self.correlation] = (pair,) if len(self.pairs) > 1 else ()
        return {**dims, self.effect: (self.column, effect)}

    @property
    def coords(self) -> dict[str, tuple[str, ...]]:
        """Coordinates of the dimensions beside the groups' labels."""
        if not self.has_slopes:
            return {}
        effect, pair = self.dims
        several = {pair: self.pairs} if len(self.pairs) > 1 else {}
        return {effect: self.terms, **several}


def levels_of(
    columns: Sequence[str], varying: Sequence[Varying], *, by_column: bool = False
) -> tuple[Level, ...]:
    """Levels with their names, the outermost first, without priors.

    Intercepts of one or two columns have the letters ``mu, kappa`` and ``theta, tau``; slopes of
    one column ``theta, tau, rho``; all others names by column, such as ``tau_school``.

    Parameters
    ----------
    columns : sequence of str
    varying : sequence of Varying
        Of each level; empty where all are intercepts.
    by_column : bool
        Whether all have names by column.
    """
    every = tuple(varying) or (Varying(),) * len(columns)
    has_slopes = any(not own.is_intercept for own in every)
    if len(columns) <= (1 if has_slopes else len(NAMES)) and not by_column:
        names = NAMES[len(NAMES) - len(columns) :]
    else:
        names = tuple((f"theta_{column}", f"tau_{column}") for column in columns)
    kinds = {own.terms for own in every if not own.is_intercept}
    shared = len(kinds) < 2
    return tuple(
        Level(
            column,
            *named,
            own,
            (EFFECT_DIM, PAIR_DIM) if shared else (f"effect_{column}", f"pair_{column}"),
        )
        for column, named, own in zip(columns, names, every, strict=True)
    )


def effect_named(name: str | None, levels: Sequence[Level], on_outcome_scale: Sequence[str]) -> str:
    """Name of the effects of a level, given by this name or by its column; by default the last's.

    Raises
    ------
    SpecError
        If there is no such level.
    """
    if not levels:
        raise SpecError("this needs groups, and this model has none")
    upwards = levels[::-1]  # the innermost is the default, and named first
    for own in upwards:
        if name in (None, own.effect, own.column):
            return own.effect
    if name in on_outcome_scale:
        return str(name)
    names = [f"{known.effect!r} or {known.column!r}" for known in upwards]
    names += [repr(own) for own in on_outcome_scale]
    known = [text for own in upwards for text in (own.effect, own.column)] + [*on_outcome_scale]
    raise SpecError(
        f"level: expected {', '.join(names)}; found {name!r}{did_you_mean(name, known)}"
    )


def with_priors(level: Level, priors: Mapping[str, Prior]) -> Level:
    """The level with its priors, taken from those of all parameters."""
    whole = priors.get(level.sd)
    if isinstance(whole, FlatCovariance):
        return replace(level, priors=whole.sd_priors(len(level.terms)), eta=1.0)
    sds = [priors[name] for name in level.sds]
    lkj = priors[level.correlation] if level.correlation else None
    eta = lkj.eta if isinstance(lkj, LKJ) else None
    return replace(level, priors=tuple(p for p in sds if isinstance(p, VariancePrior)), eta=eta)


def describe_levels(levels: Sequence[Level], top: str) -> tuple[list[str], list[str]]:
    """What of the groups stands in a row's mean, and a line for each level, the outermost first.

    Parameters
    ----------
    levels : sequence of Level
    top : str
        Name of the intercept at the top, or 0.

    Returns
    -------
    terms : list of str
        Such as ``theta[school]``, or ``theta[Subject]'(1, Days)``.
    lines : list of str
    """
    above: dict[str, str] = {}
    lines = []
    for level in levels:
        roots = {term: top if term == INTERCEPT else f"beta[{term}]" for term in level.terms}
        parents = [above.get(term, root) for term, root in roots.items()]
        effects = f"{level.effect}[{level.column}]"
        if not level.has_slopes:
            lines.append(f"{effects} ~ Normal({parents[0]}, {level.sd})")
            above[INTERCEPT] = effects
            continue
        more = f", {level.correlation}" if level.correlation else ""
        mean = f"({', '.join(parents)})" if len(parents) > 1 else parents[0]
        lines.append(f"{effects} ~ Normal({mean}, {level.sd}{more})")
        above |= {term: f"{level.effect}[{level.column}, {term}]" for term in level.terms}
    constant = [] if INTERCEPT in above or top == "0" else [top]
    return [*constant, *_terms_of_a_row(levels)], lines


def _terms_of_a_row(levels: Sequence[Level]) -> list[str]:
    """Effects of the innermost level at which each term varies, times what they multiply."""
    written: dict[str, str] = {}
    left = [term for level in levels for term in level.terms]
    for level in reversed(levels):
        own = [term for term in level.terms if term in left]
        left = [term for term in left if term not in own]
        if not own:
            continue
        effects = f"{level.effect}[{level.column}]"
        if not level.has_slopes:
            written[effects] = effects
            continue
        numbers = ["1" if term == INTERCEPT else term for term in own]
        some = "" if len(own) == len(level.terms) else f", {' and '.join(own)}"
        effects = f"{level.effect}[{level.column}{some}]"
        several = f"{effects}'({', '.join(numbers)})"
        written[effects] = several if len(numbers) > 1 else f"{effects}·{numbers[0]}"
    return list(written.values())


def require_varying(
    varying: Sequence[Varying],
    columns: Sequence[str],
    covariates: Sequence[str],
) -> None:
    """Raise SpecError if what varies does not suit the groups and the covariates."""
    if not isinstance(varying, tuple) or not all(isinstance(own, Varying) for own in varying):
        raise SpecError(f"varying: expected a tuple of Varying; found {short(varying)}")
    if columns and INTERCEPT in covariates:
        raise SpecError(
            f"covariates: a column {INTERCEPT!r} cannot be told from the intercept, whose effects "
            f"have this name; rename it, for example to {INTERCEPT + '_column'!r}, or leave it out "
            f"if it is 1 in every row"
        )
    if len(columns) > MAX_LEVELS:
        raise SpecError(
            f"groups: expected at most {MAX_LEVELS} columns, from the outer to the inner level; "
            f"found {len(columns)}: {list(columns)}"
        )
    if not varying:
        return
    if len(varying) != len(columns):
        raise SpecError(
            f"varying: expected one for each of {len(columns)} columns of groups; found "
            f"{len(varying)}"
        )
    for column, own in zip(columns, varying, strict=True):
        unknown = [t for t in own.terms if t != INTERCEPT and t not in covariates]
        if unknown:
            raise SpecError(
                f"formula: the effect of {unknown[0]!r} varies between the groups of {column!r}, "
                f"and has no mean: add {unknown[0]} to the terms outside the parentheses"
            )
        if not own.terms or len(set(own.terms)) < len(own.terms):
            raise SpecError(
                f"formula: expected effects of {column!r}, each once; found {list(own.terms)}"
            )
