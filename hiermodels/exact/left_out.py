"""Units left out of a posterior that is integrated over the variances.

With weights W_j of the posterior on a lattice of the variances φ,

    1/p(y_u | the rest) = E[1/p(y_u | the rest, φ) | y] = Σ_j W_j / p(y_u | the rest, φ_j),

where all effects and coefficients are integrated out
(:mod:`hiermodels.exact.kernels.tree.leave_out`).

Sums over parts of the lattice, and what lies at its edge, say how well it holds the posterior
without a unit.  Where it does not, that posterior is integrated on a lattice of its own, and
``p(y_u | the rest) = p(y)/p(the rest)``.

References
----------
Gelfand, Dey & Chang (1992), Bayesian Statistics 4:147 (the identity above).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.data.nesting import GroupLevel, attributes_of
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.errors import HierModelsError, SpecError
from hiermodels.exact.group_likelihood import standardized_rows
from hiermodels.exact.kernels.records import Densities, Rows
from hiermodels.exact.lattice_mixture import LatticeMixture
from hiermodels.exact.precision import sd_quadrature_error
from hiermodels.exact.standardized import Standardized
from hiermodels.model.spec import Spec
from hiermodels.numerics.group_sums import starts
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.left_out import LogDensities, Units

GOOD = 1e-8  # error of a log density that is good enough
DROP = 32.0  # of the log density, at which a first sum ends
COARSE = {0: 1.0, 1: 0.25, 2: 0.8, 3: 0.9}  # spacing of a first lattice, if it has far fewer points
FEWEST = 16  # units that are worth a finer lattice
FINER = 0.6  # its spacing, as a part of that of the posterior's own
MAX_WORK = 1e9  # points times units
MAX_REFITS = 1000
HEAVIEST = 1e-6  # share of its siblings in the weight, below which a unit is alone in what it says
MIN_KEPT = 1e-7  # of the information on the coefficients; below, it is lost in rounding
UNIDENTIFIED = 1e-10
WEIGHTY = 1e-12  # weight of a point on which rounding errors count
ROUNDING = 1e-15

type Refit = Callable[[GroupedData], LatticeMixture]
"""From other rows to their posterior under the same model."""


@dataclass(frozen=True)
class Rule:
    """Points and several weightings of them.

    Attributes
    ----------
    points : (n, d)
    weights : (m, n)
        The first is the rule; the others are rougher ones.
    powers : (m − 1,)
        To which power the difference from a rougher rule is about the rule's error.
    edge : (n,)
        Whether a point is at the edge, beyond which nothing is summed.
    """

    points: Floats
    weights: Floats
    powers: Floats
    edge: NDArray[np.bool_]

    @classmethod
    def of(cls, lattice: Lattice, drop: float = np.inf) -> Rule:
        """Points of a lattice; rougher, half of them in several ways.

        A lattice errs by the density's Fourier transform, which falls exponentially, at the points
        of the reciprocal lattice.  The nearest are at 2π/h; those that a chessboard's half adds at
        √d π/h, those of every second plane at π/h.
        """
        some = lattice.log_density > lattice.log_density.max() - drop
        index, own = lattice.index[some], lattice.weights[some] / lattice.weights[some].sum()
        d = index.shape[1]
        halves = [lattice.checkerboard[some], *(e == 0 for e in index.T % 2 if d > 1)]
        rough = [np.where(half, own, 0.0) for half in halves]
        weights = np.array([own, *(w / w.sum() for w in rough)])
        powers = np.array([2 / np.sqrt(max(d, 1)), *([2.0] * (len(halves) - 1))])
        return cls(lattice.points[some], weights, powers, _edge(index))


@one_blas_thread()
def leave_out_by_quadrature(reference: LatticeMixture, units: Units, refit: Refit) -> LogDensities:
    """On the lattice of the posterior; where that does not do, on a finer one or one of its own."""
    every = np.full(len(units), np.inf)
    densities = LogDensities(every, every, every)
    for rule in _rules(reference):
        densities = _improved(reference, units, densities, rule)
    if (densities.error > GOOD).sum() >= FEWEST:
        finer = reference.marginal.lattice(FINER * reference.lattice.spacing)
        densities = _improved(reference, units, densities, Rule.of(finer))
    return _with_refits(reference, units, densities, refit)


def _with_refits(
    reference: LatticeMixture, units: Units, densities: LogDensities, refit: Refit
) -> LogDensities:
    """Give the units that are not good enough a posterior of their own."""
    lost = unidentified(reference.spec, reference.data, units)
    text = "without it a coefficient of the covariates is not identified"
    reasons = dict.fromkeys(np.flatnonzero(lost).tolist(), text)
    bad = np.flatnonzero((densities.error > GOOD) & ~lost)
    _require_few(bad, units)
    for u in bad.tolist():
        try:
            own = _refitted(reference, units, densities, u, refit)
            densities = densities.updated(np.array([u]), own)
        except HierModelsError as error:
            reasons[u] = str(error)
    nothing = np.full(len(reasons), np.nan)
    some = np.fromiter(reasons, dtype=np.intp, count=len(reasons))
    densities = densities.updated(some, LogDensities(nothing, nothing, nothing))
    return replace(densities, n_refits=len(bad), n_points=len(reference.lattice), reasons=reasons)


def _require_few(bad: Indices, units: Units) -> None:
    if len(bad) > MAX_REFITS:
        raise SpecError(
            f"loo: {len(bad):,} of {len(units):,} units ({units.name}) change the posterior so "
            f"much that each would need a fit of its own; {MAX_REFITS:,} such units are the most"
        )


def _rules(reference: LatticeMixture) -> Iterator[Rule]:
    """Rules for the posterior, each for the units for which those before it do not do.

    A nearly normal density needs few points: the error of the coarsest is 1e-8 for a normal one.
    """
    lattice = reference.lattice
    coarse = COARSE[lattice.index.shape[1]]
    if (lattice.spacing < FINER * coarse).all():
        yield Rule.of(reference.marginal.lattice(coarse), DROP)
    yield Rule.of(lattice, DROP)
    yield Rule.of(lattice)


def _improved(
    reference: LatticeMixture, units: Units, densities: LogDensities, rule: Rule
) -> LogDensities:
    """Evaluate those units anew that are not good enough, and keep what is better."""
    bad = np.flatnonzero(densities.error > GOOD)
    if not len(bad):
        return densities
    if len(bad) * len(rule.points) > MAX_WORK:
        raise SpecError(
            f"loo: the densities of {len(bad):,} units ({units.name}) at {len(rule.points):,} "
            f"points are more than {MAX_WORK:.0e} numbers, which would take long. Leave out "
            f"larger units, or cross-validate a part of the data"
        )
    new = _evaluate(reference, units, rule, bad)
    better = new.error <= densities.error[bad]
    some = LogDensities(new.left_out[better], new.again[better], new.error[better])
    return densities.updated(bad[better], some)


def _evaluate(reference: LatticeMixture, units: Units, rule: Rule, some: Indices) -> LogDensities:
    """Sum over the points of a rule, for some units."""
    standard = reference.marginal.data
    of, level = _rows_or_within(reference, units), units.level
    heaviest = rule.points[[np.argmax(rule.weights[0])]]

    def densities(points: Floats) -> Iterator[tuple[slice, slice, Densities]]:
        return reference.marginal.given(points).left_out(of, level, some)

    middle, again = np.empty((2, len(some))), np.zeros(len(some))
    share = np.vstack([rule.weights, rule.weights[0] * rule.edge])
    sums, kept = np.zeros((len(share), len(some))), np.full(len(some), np.inf)
    with np.errstate(all="ignore"):
        for _, part, values in densities(heaviest):
            middle[:, part] = values.left_out[0], values.again[0]
        for nodes, part, values in densities(rule.points):
            sums[:, part] += share[:, nodes] @ np.exp(middle[0, part] - values.left_out)
            again[part] += share[0, nodes] @ np.exp(values.again - middle[1, part])
            weighty = share[0, nodes] > WEIGHTY
            kept[part] = np.minimum(kept[part], values.kept[weighty].min(axis=0, initial=np.inf))
        log_mean = np.log(sums[0])
        rougher = np.abs(np.log(sums[1:-1]) - log_mean) ** rule.powers[:, None]
        error = rougher.max(axis=0) + sums[-1] / sums[0] + ROUNDING / kept
    bad = ~np.isfinite(error) | ~(kept > MIN_KEPT) | _dominates(standard, of, level)[some]
    jacobian = _sizes(reference.data, units)[some] * np.log(standard.scale)
    left_out, again = middle[0] - log_mean - jacobian, middle[1] + np.log(again) - jacobian
    return LogDensities(left_out, again, np.where(bad, np.inf, error))


def _rows_or_within(reference: LatticeMixture, units: Units) -> Any:
    """What the densities need: rows, or what the kernel makes of them."""
    marginal = reference.marginal
    if not reference.data.has_rows:
        return marginal.kernel.within(None)
    rows = standardized_rows(reference.data, marginal.data)
    are_rows = units.level > marginal.data.tree.innermost
    return rows if are_rows else marginal.kernel.within(rows)


def _sizes(data: GroupedData, units: Units) -> Floats:
    """Number of rows of each unit."""
    return np.bincount(units.index, minlength=len(units)).astype(float)


def _dominates(standard: Standardized, of: Any, level: int) -> NDArray[np.bool_]:
    """Units that have nearly all the weight among their siblings, or are in one that has.

    What is left without them is lost in rounding when it is formed as a difference.
    """
    tree = standard.tree
    weights = [tree.weight]  # of the root and of each level, the outermost first
    for current in range(tree.innermost, ROOT, -1):
        weights.insert(0, np.add.reduceat(weights[0], starts(tree.parent(current))))
    dominates = np.zeros(1, dtype=bool)
    for current, (total, weight) in enumerate(pairwise(weights[: level - ROOT + 1])):
        parent = tree.parent(current)
        several = np.bincount(parent)[parent] > 1
        alone = several & (total[parent] - weight < HEAVIEST * weight)
        dominates = dominates[parent] | alone
    if not isinstance(of, Rows):
        return dominates
    total = tree.weight[of.group]
    alone = (total > of.weight) & (total - of.weight < HEAVIEST * of.weight)
    return dominates[of.group] | alone


def _edge(index: Indices) -> NDArray[np.bool_]:
    """Points (n, d) of a lattice that miss a neighbour along some axis."""
    index = index - index.min(axis=0) + 1
    there = np.zeros(index.max(axis=0) + 2, dtype=bool)
    there[tuple(index.T)] = True
    ahead = np.eye(index.shape[1], dtype=int)
    return ~np.all([there[tuple((index + e).T)] for e in (*ahead, *-ahead)], axis=0)


def _refitted(
    reference: LatticeMixture, units: Units, densities: LogDensities, u: int, refit: Refit
) -> LogDensities:
    """Integrate the posterior without a unit on a lattice of its own."""
    if len(units) == 1:  # without the only one there is the prior
        alone = np.array([reference.log_marginal_likelihood])
        own = sd_quadrature_error(reference.marginal, reference.lattice)
        return LogDensities(alone, densities.again[[u]], np.array([own]))
    rest = refit(without(reference.data, units.index != u))
    left_out = reference.lattice.log_integral - rest.lattice.log_integral
    both = (reference, rest)
    error = max(sd_quadrature_error(one.marginal, one.lattice) for one in both)
    return LogDensities(np.array([left_out]), densities.again[[u]], np.array([error]))


def without(data: GroupedData, keep: NDArray[np.bool_]) -> GroupedData:
    """Keep some rows; of statistics, some groups.  Units of which nothing is left go.

    Parameters
    ----------
    keep : (N,) or (g,)
    """
    has_rows = isinstance(data, GroupedRows)
    unit = data.group[keep] if has_rows else np.flatnonzero(keep)
    present, group = np.unique(unit, return_inverse=True)
    levels: list[GroupLevel] = []
    for level in reversed(data.levels):
        kept = level.labels[present], level.own_labels[present]
        present, parent = np.unique(level.parent[present], return_inverse=True)
        levels.insert(0, GroupLevel(level.column, *kept, parent))
    names = attributes_of(levels)
    if isinstance(data, GroupedRows):
        design = replace(data.design, matrix=data.design.matrix[keep])
        se = None if data.se is None else data.se[keep]
        return replace(data, y=data.y[keep], se=se, design=design, group=group, **names)
    assert isinstance(data, SufficientStatistics)
    some = {name: getattr(data, name)[keep] for name in ("count", "weight", "mean", "rest")}
    return replace(data, **some, log_weight=float(np.log(some["weight"]).sum()), **names)


def unidentified(spec: Spec, data: GroupedData, units: Units) -> NDArray[np.bool_]:
    """Units without which some coefficient with a flat prior is not identified; (u,).

    With orthonormal rows q_i, all that is left of a direction is 1 less its part in the unit's
    rows; that part is at most the sum of the unit's leverages ``|q_i|²``.
    """
    lost = np.zeros(len(units), dtype=bool)
    flat = [spec.scaled_prior(name) is None for name in spec.coefficients]
    x = _covariates(data)[:, flat]
    if not x.shape[1]:
        return lost
    if any(spec.scaled_prior(name) is None for name in spec.top):
        x = np.column_stack([np.ones(len(x)), x - x.mean(axis=0)])
    q = np.linalg.qr(x / np.linalg.norm(x, axis=0))[0]
    leverage = np.bincount(units.index, weights=(q**2).sum(axis=1), minlength=len(units))
    for u in np.flatnonzero(leverage > 1 - 1e-6):
        own = q[units.index == u]
        lost[u] = 1 - np.linalg.norm(own, 2) ** 2 < UNIDENTIFIED
    return lost


def _covariates(data: GroupedData) -> Floats:
    """Covariates of the rows; of statistics, those of the groups."""
    if isinstance(data, SufficientStatistics):
        return (data.mean + data.rest)[:, :-1]
    return data.design.matrix
