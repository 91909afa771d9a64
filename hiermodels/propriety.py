"""Whether the posterior exists, and which of its moments.

Let x be the logarithms of the variances.  Along a ray on which some of them go to +∞ together,
the lowest being that of level ℓ, the likelihood falls as ``exp(−½ D_ℓ x)`` with

    D_ℓ = units of level ℓ − coefficients identified between them under flat priors,

because all ``D_ℓ`` contrasts between units of level ℓ get that variance; the priors add their
``upper_tail``.  So the posterior exists if, at each level ℓ,

    tail_ℓ = upper_tail_ℓ + Σ_{levels above} max(0, upper_tail) − ½ D_ℓ  <  0,

and every prior's ``lower_tail`` is positive: a variance of 0 has a finite likelihood.  An
unknown residual variance is the lowest level; there the likelihood falls at 0 as well, if the
rows of a group differ.  The m-th moment of an sd, or of a value that gets this variance, exists
if ``tail_ℓ + m/2 < 0``.

References
----------
Gelman (2006), Bayesian Analysis 1:515, for two levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.errors import ImproperPosteriorError
from hiermodels.gaussian import Floats, Tree, starts, sum_by
from hiermodels.priors import VariancePrior
from hiermodels.spec import Spec


@dataclass(frozen=True)
class Tails:
    """Exponents of the posterior at large variances.

    Attributes
    ----------
    upper : dict of str to float
        ``tail_ℓ`` of the module's text by the sd's name, from the lowest level upwards.
    """

    upper: dict[str, float]

    def sd_moment_exists(self, name: str, order: int) -> bool:
        """Whether ``E[sd^order]`` is finite."""
        return self.upper[name] + order / 2 < 0

    def value_moment_exists(self, below: tuple[str, ...], order: int) -> bool:
        """Whether a moment of a value is finite, from the sds of the levels below it."""
        return all(self.sd_moment_exists(name, order) for name in below)


def check(spec: Spec, tree: Tree) -> Tails:
    """Refuse a posterior that does not exist.

    Parameters
    ----------
    spec : Spec
    tree : Tree
        The data.

    Raises
    ------
    ImproperPosteriorError
        With the count that failed and a remedy.
    """
    names = spec.spreads if spec.se else ("sigma", *spec.spreads)
    if not spec.se:
        _check_residual(spec, tree)
    upper = {}
    for i, name in enumerate(names):
        prior = spec.variance_prior(name)
        if prior.lower_tail <= 0 and name != "sigma":
            raise ImproperPosteriorError(
                f"the posterior does not exist: {prior} on {name} has infinite mass at {name} = 0, "
                f"which no data rule out. Use FlatSD(), FlatVariance() or a proper prior such as "
                f"HalfNormal(sd=…)."
            )
        level = i if spec.se else i - 1
        above = [max(0.0, spec.variance_prior(other).upper_tail) for other in names[i + 1 :]]
        contrasts = _contrasts(spec, tree, level)
        tail = prior.upper_tail + sum(above) - contrasts / 2
        if tail >= 0:
            _refuse(spec, tree, level, name, prior, sum(above), contrasts)
        upper[name] = tail
    return Tails(upper)


def _contrasts(spec: Spec, tree: Tree, level: int) -> int:
    """``D_ℓ``: units of a level (−1: the rows) less coefficients identified between them."""
    units = tree.n_rows if level < 0 else tree.sizes[level]
    flat = [] if spec.coefficient_prior(spec.intercept).is_proper else [1.0]
    if spec.covariates and not spec.coefficient_prior("beta").is_proper:
        total = len(flat) + tree.n_covariates
        return units - (total - _rank_within(tree, level))
    return units - len(flat)


def _rank_within(tree: Tree, level: int) -> int:
    """Number of covariates identified by differences between rows of one unit of a level."""
    if level < 0:
        return 0
    within = tree.scatter[:-1, :-1].copy()
    mean, weight = tree.mean[:, :-1], tree.weight
    for above in range(level):
        parent = tree.parent(above)
        total = np.add.reduceat(weight, starts(parent))
        centre = sum_by(parent, weight[:, None] * mean, len(total)) / total[:, None]
        away = mean - centre[parent]
        within += (weight[:, None] * away).T @ away
        mean, weight = centre, total
    return _rank(within)


def _rank(product: Floats) -> int:
    """Rank of a matrix of cross-products, free of the columns' scales."""
    scale = np.sqrt(np.diag(product))
    kept = scale > 0
    if not kept.any():
        return 0
    correlation = product[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
    return int(np.linalg.matrix_rank(correlation, hermitian=True, tol=1e-9))


def _check_residual(spec: Spec, tree: Tree) -> None:
    """An unknown σ needs rows of one group that differ."""
    prior = spec.variance_prior("sigma")
    if tree.n_rows == tree.sizes[0]:
        if prior.is_proper and all(spec.variance_prior(s).is_proper for s in spec.spreads):
            return
        raise ImproperPosteriorError(
            f"the posterior does not exist: each of the {tree.n_rows} groups has one row, so sigma "
            f"and tau cannot be told apart. Name the column of standard errors (se=…), or give "
            f"proper priors on sigma and on every group-level sd."
        )
    if prior.lower_tail <= 0 and tree.scatter[-1, -1] <= 0:
        raise ImproperPosteriorError(
            f"the posterior does not exist: the rows of each group are all equal, so the within-"
            f"group sum of squares is 0 and {prior} on sigma has infinite mass at sigma = 0. Name "
            f"the column of standard errors (se=…), or give sigma a proper prior."
        )


def _refuse(
    spec: Spec,
    tree: Tree,
    level: int,
    name: str,
    prior: VariancePrior,
    above: float,
    contrasts: int,
) -> None:
    """Raise the error that tells the count, what was needed and what to do."""
    units = tree.n_rows if level < 0 else tree.sizes[level]
    what = "rows" if level < 0 else f"{spec.groups[-1 - level]!r} groups"
    spent = units - contrasts
    needed = int(np.floor(2 * (prior.upper_tail + above))) + 1
    remedy = "HalfNormal(sd=…) or HalfCauchy(beta=…)"
    if prior.upper_tail + above > 0.5 and contrasts > 1 and level >= 0:
        remedy = f"FlatSD() (which needs {spent + 2} groups), {remedy}"
    raise ImproperPosteriorError(
        f"the posterior does not exist: {units} {what} less {spent} flat coefficient"
        f"{'' if spent == 1 else 's'} leave {contrasts} contrasts, and {prior} on {name} needs at "
        f"least {needed}, so {spent + needed} {what}. Give {name} a proper prior, such as "
        f"priors={{{name!r}: …}} with {remedy}, or add data."
    )
