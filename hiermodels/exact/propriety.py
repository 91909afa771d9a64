"""Whether the posterior exists, and which of its moments.

Let x be the logarithms of the variances.  Along a ray on which some of them go to +∞ together,
the lowest being that of level ℓ, the likelihood falls as ``exp(−½ D_ℓ x)`` with

    D_ℓ = members of level ℓ − coefficients identified between them under flat priors,

(the intercept, where there is one, among these,)

because all ``D_ℓ`` contrasts between members of level ℓ get that variance; the priors add their
``upper_tail``.  So the posterior exists if, at each level ℓ,

    tail_ℓ = upper_tail_ℓ + Σ_{levels above} max(0, upper_tail) − ½ D_ℓ  <  0,

and every prior's ``lower_tail`` is positive: a variance of 0 has a finite likelihood.  An
unknown residual variance is the lowest level; there the likelihood falls at 0 as well, if the
rows of a group differ.  The m-th moment of an sd exists if ``tail + m/2 < 0`` on every ray on which
it grows, its own level's and those of the levels below; that of an effect, if those of all sds
below it do.

References
----------
Gelman (2006), Bayesian Analysis 1:515, for two levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.names import ROOT
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.kernels.tree.tree import Tree
from hiermodels.exact.standardized import Standardized
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec

RANK_TOLERANCE = 1e-9  # of singular values of a part of orthonormal columns
SLOWEST_FALL = 0.06  # exponent with which x = 600 is needed to fall by a factor exp(−36)


@dataclass(frozen=True)
class Tails:
    """Exponents of the posterior at large variances.

    Attributes
    ----------
    prior : dict of str to float
        ``upper_tail`` of each sd's prior by its name, from the outermost level to the rows.
    contrasts : dict of str to int
        ``D_ℓ`` of the module's text.
    sizes : dict of str to int
        Of each sd's level: number of groups, of their parents, or of rows.
    intercept_is_flat : bool
        Whether the intercept has a flat prior.
    loose : tuple of str
        Sds that leave some coefficient with a flat prior unbounded as they grow, the lowest level's
        first.
    """

    prior: dict[str, float]
    contrasts: dict[str, int]
    sizes: dict[str, int]
    intercept_is_flat: bool
    loose: tuple[str, ...]

    def tail(self, lowest: str, along: str) -> float:
        """Exponent on the worst ray whose lowest level is ``lowest`` and that has ``along``."""
        names = list(self.prior)
        above = names[: names.index(lowest)]
        others = sum(max(0.0, self.prior[name]) for name in above if name != along)
        own = self.prior[lowest] + (self.prior[along] if along != lowest else 0.0)
        return own + others - self.contrasts[lowest] / 2

    def sd_moment_exists(self, name: str, order: int) -> bool:
        """Whether ``E[sd^order]`` is finite: on every ray on which this sd grows.

        A moment that is finite only because its integrand falls ever so slowly, beyond the range
        of floating-point numbers, counts as one that does not exist.
        """
        return not self.lacking(name, order)

    def lacking(self, name: str, order: int) -> dict[str, int]:
        """Levels, by their sds, that have too few members for ``E[sd^order]``, and what it takes.

        The lowest comes first.  With the coefficients that are there, each member more is one
        contrast more, and lowers the exponent by ½.
        """
        names = list(self.prior)
        needed = {}
        for lowest in reversed(names[names.index(name) :]):
            least = self.needed(lowest, name, order)
            if least is not None:
                needed[lowest] = least
        return needed

    def needed(self, lowest: str, along: str, order: int) -> int | None:
        """Members of a level that a moment of what grows as ``along`` needs; None if it exists.

        On the worst ray whose lowest level is ``lowest``.
        """
        excess = self.tail(lowest, along) + order / 2 + SLOWEST_FALL
        return self.sizes[lowest] + int(np.floor(2 * excess)) + 1 if excess >= 0 else None


def check(spec: Spec, data: Standardized) -> Tails:
    """Raise ImproperPosteriorError if the posterior does not exist.

    Parameters
    ----------
    spec : Spec
    data : Standardized

    Raises
    ------
    ImproperPosteriorError
        With the count that failed and a remedy.
    """
    names = _names(spec)
    flat = _flat_directions(spec, data)
    intercept_is_flat = any(not spec.coefficient_prior(name).is_proper for name in spec.top)
    _check_single_members(spec, data.tree, int(intercept_is_flat))
    if not spec.se:
        _check_residual(spec, data)
    sizes = (*data.tree.sizes, data.tree.n_rows)
    counts, loose = {}, []
    for level, name in reversed(list(enumerate(names))):
        prior = spec.variance_prior(name)
        if prior.lower_tail <= 0 and name != "sigma":
            raise ImproperPosteriorError(
                f"the posterior does not exist: {prior} on {name} has infinite mass at {name} = 0, "
                f"which no data rule out. Use FlatSD(), FlatVariance() or a proper prior such as "
                f"HalfNormal(sd=…)."
            )
        between = flat.shape[1] - _rank(flat[data.level > level])
        counts[name] = sizes[level] - between - int(intercept_is_flat)
        above = sum(max(0.0, spec.variance_prior(other).upper_tail) for other in names[:level])
        if prior.upper_tail + above - counts[name] / 2 >= 0:
            _refuse(name, prior, above, sizes[level], counts[name], members_of(spec, name))
        if between:
            loose.append(name)
    prior_tails = {name: spec.variance_prior(name).upper_tail for name in names}
    by_sd = dict(zip(names, sizes, strict=False))
    return Tails(prior_tails, counts, by_sd, intercept_is_flat, tuple(loose))


def _names(spec: Spec) -> tuple[str, ...]:
    """Names of the unknown sds, from the outermost level to the rows."""
    return (*(level.sd for level in spec.levels), *(() if spec.se else ("sigma",)))


def members_of(spec: Spec, sd: str) -> str:
    """What has this sd: rows, or the groups of a column."""
    columns = {level.sd: level.column for level in spec.levels}
    return f"{columns[sd]!r} groups" if sd in columns else "rows"


def _flat_directions(spec: Spec, data: Standardized) -> Floats:
    """Orthonormal basis, in the tree's coordinates, of the β with flat priors; (q, flat)."""
    is_flat = [not spec.coefficient_prior(name).is_proper for name in spec.coefficients]
    columns = np.linalg.inv(data.basis)[:, is_flat]
    return np.linalg.qr(columns)[0]


def _rank(matrix: Floats) -> int:
    return int(np.linalg.matrix_rank(matrix, tol=RANK_TOLERANCE)) if matrix.size else 0


def _check_single_members(spec: Spec, tree: Tree, spent: int) -> None:
    """A level with a single member, which is compared with nothing, needs a proper prior."""
    for level, size in reversed(list(zip(spec.levels, tree.sizes, strict=True))):
        if size == 1 and level.prior.upper_tail >= (1 - spent) / 2:
            raise ImproperPosteriorError(
                f"the posterior does not exist: column {level.column!r} has one group only, which "
                f"says nothing of {level.sd}, and {level.prior} on {level.sd} is not proper. Give "
                f"{level.sd} a proper prior, such as priors={{{level.sd!r}: …}} with "
                f"HalfNormal(sd=…), or add data."
            )


def _check_residual(spec: Spec, data: Standardized) -> None:
    """An unknown σ needs rows of one group that differ, by more than the covariates explain."""
    prior, tree = spec.variance_prior("sigma"), data.tree
    if isinstance(prior, Fixed):
        return
    bottom = _lowest_level(spec, len(spec.levels) - 1)
    n_members = _n_members(spec, tree, bottom)
    lowest = None if bottom == ROOT else spec.levels[bottom].sd
    if lowest and tree.n_rows == n_members and lowest not in spec.fixed:
        if prior.is_proper and all(level.prior.is_proper for level in spec.levels):
            _check_exact_fit(spec, data)
            return
        raise ImproperPosteriorError(
            f"the posterior does not exist: each of the {tree.n_rows} groups has one row, so sigma "
            f"and {lowest} cannot be told apart. Name the column of standard errors (se=…) "
            f"or variances (variance=…), or give proper priors on sigma and on every group-level "
            f"sd."
        )
    if prior.lower_tail > 0:
        _check_exact_fit(spec, data)
        return
    coefficients = _coefficients_below(spec, data, bottom)
    if tree.n_rows - n_members - coefficients <= 0:
        raise ImproperPosteriorError(
            f"the posterior does not exist: {tree.n_rows} rows less {n_members} groups and "
            f"{coefficients} coefficients leave no degree of freedom for sigma. Give sigma a "
            f"proper prior, use fewer covariates, or add data."
        )
    if data.explained[bottom - ROOT]:
        raise ImproperPosteriorError(
            f"the posterior does not exist: within the groups the rows are all equal, or are "
            f"explained by the covariates without a remainder, and {prior} on sigma has infinite "
            f"mass at sigma = 0. Name the column of standard errors (se=…) or variances "
            f"(variance=…), or give sigma a proper prior."
        )


def _coefficients_below(spec: Spec, data: Standardized, level: int) -> int:
    """Number of coefficients identified within a level's members, or at the top within all rows."""
    is_zero = level == ROOT and not spec.has_intercept  # a root that is 0 tells one more
    return int((data.level > level - is_zero).sum())


def _lowest_level(spec: Spec, level: int) -> int:
    """The lowest level, from one upwards, whose members may differ: its sd is not fixed at 0."""
    free = (own for own in range(level, ROOT, -1) if spec.fixed.get(spec.levels[own].sd) != 0)
    return next(free, ROOT)


def _n_members(spec: Spec, tree: Tree, level: int) -> int:
    """Number of members of a level; of the root 1, or 0 where its value is known."""
    return int(spec.has_intercept) if level == ROOT else tree.sizes[level]


def _check_exact_fit(spec: Spec, data: Standardized) -> None:
    """Raise ImproperPosteriorError if nothing is left of the rows, and sds may go to 0.

    If members of level ℓ and covariates explain all n rows, the likelihood grows as
    ``(σ²)^(−½ F_ℓ)`` when σ and the sds below level ℓ go to 0 together, with

        F_ℓ = n − members of level ℓ − coefficients identified within them,

    and the priors fall as ``(σ²)^(Σ lower_tail)``: the sum must be more than ``½ F_ℓ``.  Members
    whose sd is fixed at 0 explain nothing.
    """
    lower, tree = 0.0, data.tree
    for own, name in reversed(list(enumerate(_names(spec)))):
        if spec.fixed.get(name) == 0:
            continue
        lower += spec.variance_prior(name).lower_tail
        level = _lowest_level(spec, own - 1)
        if not data.explained[level - ROOT]:
            return
        df = tree.n_rows - _n_members(spec, tree, level) - _coefficients_below(spec, data, level)
        if df > 0 and lower <= df / 2:
            who = "the mean and " if spec.has_intercept else ""
            if level != ROOT:
                who = f"the {spec.levels[level].column!r} groups and "
            sds = " and ".join(reversed(_names(spec)[level + 1 :]))
            raise ImproperPosteriorError(
                f"the posterior does not exist: {who}the covariates explain all rows "
                f"without a remainder, and the priors on {sds} fall "
                f"too slowly at 0 for {df} degrees of freedom. Name the column of standard "
                f"errors (se=…) or variances (variance=…), or give sigma a prior such as "
                f"InverseGamma(…)."
            )


def _refuse(
    name: str, prior: VariancePrior, above: float, size: int, contrasts: int, what: str
) -> None:
    """Raise the error that tells the count, what was needed and what to do."""
    spent = size - contrasts
    needed = int(np.floor(2 * (prior.upper_tail + above))) + 1
    remedy = "HalfNormal(sd=…) or HalfCauchy(beta=…)"
    if prior.upper_tail > 0.5 and 2 * (0.5 + above) < contrasts:
        remedy = f"FlatSD() (which needs {spent + int(2 * above) + 2} groups), {remedy}"
    raise ImproperPosteriorError(
        f"the posterior does not exist: {size} {what} less {spent} flat coefficient"
        f"{'' if spent == 1 else 's'} leave {contrasts} contrasts, and {prior} on {name} needs at "
        f"least {needed}, so {spent + needed} {what}. Give {name} a proper prior, such as "
        f"priors={{{name!r}: …}} with {remedy}, or add data."
    )
