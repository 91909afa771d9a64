"""Units left out of a posterior that is integrated over the variances.

With weights W_j of the posterior on a lattice of the variances φ,

    1/p(y_u | the rest) = E[1/p(y_u | the rest, φ) | y] = Σ_j W_j / p(y_u | the rest, φ_j),

where all effects and coefficients are integrated out, by the kernel of the model
(:mod:`hiermodels.exact.tree_left_out`, :mod:`hiermodels.exact.block_left_out`).

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
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.data.nesting import GroupLevel, attributes_of
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.errors import HierModelsError, PrecisionError, SpecError
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.left_out import LogDensities, Units

GOOD = 1e-8  # error of a log density that is good enough
GOOD_OF_NODES = 1e-3  # the same of sums over nodes that stand for a larger lattice
DROP = 32.0  # of the log density, at which a first sum ends
# Spacing of a first lattice, if it has far fewer points
COARSE = {0: 1.0, 1: 0.25, 2: 0.8, 3: 0.9, 4: 0.9, 5: 1.0}
FEWEST = 16  # units that are worth a finer lattice
FINER = 0.6  # its spacing, as a part of that of the posterior's own
MAX_WORK = 1e9  # points times units
MAX_REFITS = 1000
MIN_KEPT = 1e-7  # of the information on the coefficients; below, it is lost in rounding
UNIDENTIFIED = 1e-10
WEIGHTY = 1e-12  # weight of a point on which rounding errors count
ROUNDING = 1e-15


class Points(Protocol):
    """Points over which a posterior is summed."""

    @property
    def log_integral(self) -> float:
        """Logarithm of the density's integral."""

    def __len__(self) -> int:
        """How many there are."""


class Integral(Protocol):
    """The integral of a posterior."""

    @property
    def lattice(self) -> Points:
        """The lattice, or nodes that stand for a larger one."""

    def lattice_error(self) -> float:
        """How well the lattice holds the posterior, in posterior sds."""


class OnLattice(Integral, Protocol):
    """A posterior that is integrated on a lattice."""

    @property
    def spec(self) -> Spec:
        """What is assumed."""

    @property
    def data(self) -> GroupedData:
        """What was observed."""

    @property
    def log_marginal_likelihood(self) -> float:
        """Logarithm of the prior predictive density, where priors are proper."""

    def _relaid(self, spacing: float | Floats) -> Lattice:
        """Another lattice over the same posterior."""


type Refit = Callable[[GroupedData], Integral]
"""From other rows to the integral of their posterior under the same model."""

type Evaluate = Callable[[Rule, Indices], LogDensities]
"""From a rule and some of the units to their densities by sums over its points."""


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

    @property
    def heaviest(self) -> Floats:
        """The point with the largest weight; (1, d)."""
        return self.points[[np.argmax(self.weights[0])]]

    @property
    def shares(self) -> Floats:
        """All weights, and those at the edge alone; (m + 1, n)."""
        return np.vstack([self.weights, self.weights[0] * self.edge])

    @np.errstate(all="ignore")
    def error(self, sums: Floats, kept: Floats) -> Floats:
        """Errors of the logarithms of u sums by the rule, infinite where there is nothing to them.

        Parameters
        ----------
        sums : (m + 1, u)
            By all of the ``shares``.
        kept : (u,)
            Least part of the information on the coefficients that is left without a unit.
        """
        rougher = np.abs(np.log(sums[1:-1]) - np.log(sums[0])) ** self.powers[:, None]
        error = rougher.max(axis=0) + sums[-1] / sums[0] + ROUNDING / kept
        return np.where(~np.isfinite(error) | ~(kept > MIN_KEPT), np.inf, error)


@one_blas_thread()
def leave_out_by_quadrature(
    reference: OnLattice, units: Units, evaluate: Evaluate, refit: Refit
) -> LogDensities:
    """On the lattice of the posterior; where that does not do, on a finer one or one of its own."""
    lattice = reference.lattice
    assert isinstance(lattice, Lattice)
    every = np.full(len(units), np.inf)
    densities = LogDensities(every, every, every)
    for rule in _rules(reference, lattice):
        densities = _improved(units, densities, rule, evaluate, GOOD)
    if (densities.error > GOOD).sum() >= FEWEST:
        finer = _laid_anew(reference, FINER * lattice.spacing)
        if finer is not None:
            densities = _improved(units, densities, Rule.of(finer), evaluate, GOOD)
    return _with_refits(reference, units, densities, refit, GOOD)


@one_blas_thread()
def leave_out_by_nodes(
    reference: OnLattice, units: Units, rule: Rule, evaluate: Evaluate, refit: Refit
) -> LogDensities:
    """By few nodes that stand for a large lattice; where they do not do, by others of its own."""
    every = np.full(len(units), np.inf)
    densities = LogDensities(every, every, every)
    densities = _improved(units, densities, rule, evaluate, GOOD_OF_NODES)
    return _with_refits(reference, units, densities, refit, GOOD_OF_NODES)


def _laid_anew(reference: OnLattice, spacing: float | Floats) -> Lattice | None:
    """Another lattice over the same posterior; None where that cannot hold it."""
    try:
        return reference._relaid(spacing)
    except PrecisionError:
        return None


def _with_refits(
    reference: OnLattice, units: Units, densities: LogDensities, refit: Refit, good: float
) -> LogDensities:
    """Give the units that are not good enough a posterior of their own."""
    lost = unidentified(reference.spec, reference.data, units)
    text = "without it a coefficient of the covariates is not identified"
    reasons = dict.fromkeys(np.flatnonzero(lost).tolist(), text)
    bad = np.flatnonzero((densities.error > good) & ~lost)
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


def _rules(reference: OnLattice, lattice: Lattice) -> Iterator[Rule]:
    """Rules for the posterior, each for the units for which those before it do not do.

    A nearly normal density needs few points: the error of the coarsest is 1e-8 for a normal one.
    """
    coarse = COARSE[lattice.index.shape[1]]
    if (lattice.spacing < FINER * coarse).all():
        wide = _laid_anew(reference, coarse)
        if wide is not None:
            yield Rule.of(wide, DROP)
    yield Rule.of(lattice, DROP)
    yield Rule.of(lattice)


def _improved(
    units: Units, densities: LogDensities, rule: Rule, evaluate: Evaluate, good: float
) -> LogDensities:
    """Evaluate those units anew that are not good enough, and keep what is better."""
    bad = np.flatnonzero(densities.error > good)
    if not len(bad):
        return densities
    if len(bad) * len(rule.points) > MAX_WORK:
        raise SpecError(
            f"loo: the densities of {len(bad):,} units ({units.name}) at {len(rule.points):,} "
            f"points are more than {MAX_WORK:.0e} numbers, which would take long. Leave out "
            f"larger units, or cross-validate a part of the data"
        )
    new = evaluate(rule, bad)
    better = new.error <= densities.error[bad]
    some = LogDensities(new.left_out[better], new.again[better], new.error[better])
    return densities.updated(bad[better], some)


def _edge(index: Indices) -> NDArray[np.bool_]:
    """Points (n, d) of a lattice that miss a neighbour along some axis."""
    index = index - index.min(axis=0) + 1
    there = np.zeros(index.max(axis=0) + 2, dtype=bool)
    there[tuple(index.T)] = True
    ahead = np.eye(index.shape[1], dtype=int)
    return ~np.all([there[tuple((index + e).T)] for e in (*ahead, *-ahead)], axis=0)


def _refitted(
    reference: OnLattice, units: Units, densities: LogDensities, u: int, refit: Refit
) -> LogDensities:
    """Integrate the posterior without a unit on a lattice of its own."""
    if len(units) == 1:  # without the only one there is the prior
        alone = np.array([reference.log_marginal_likelihood])
        return LogDensities(alone, densities.again[[u]], np.array([reference.lattice_error()]))
    rest = refit(without(reference.data, units.index != u))
    left_out = reference.lattice.log_integral - rest.lattice.log_integral
    error = max(reference.lattice_error(), rest.lattice_error())
    return LogDensities(np.array([left_out]), densities.again[[u]], np.array([error]))


def without(data: GroupedData, keep: NDArray[np.bool_]) -> GroupedData:
    """Keep some rows; of statistics, some groups.  Units of which nothing is left go.

    Parameters
    ----------
    keep : (N,) or (g,)
    """
    has_rows = isinstance(data, GroupedRows)
    if isinstance(data, GroupedRows) and data.crossed:
        return _without_of_crossed(data, keep)
    unit = data.group[keep] if has_rows else np.flatnonzero(keep)
    present, group = np.unique(unit, return_inverse=True)
    levels: list[GroupLevel] = []
    for level in reversed(data.levels):
        kept = level.labels[present], level.own_labels[present]
        present, parent = np.unique(level.parent[present], return_inverse=True)
        levels.insert(0, GroupLevel(level.column, *kept, parent))
    names = dict(attributes_of(levels))
    if isinstance(data, GroupedRows):
        design = replace(data.design, matrix=data.design.matrix[keep])
        se = None if data.se is None else data.se[keep]
        more = {name: column[keep] for name, column in data.columns.items()}
        if data.covariance is not None:
            names["covariance"] = data.covariance.of_rows(np.flatnonzero(keep))
        y, new = data.y[keep], {"design": design, "group": group, **names}
        return replace(data, y=y, se=se, columns=more, **new)
    assert isinstance(data, SufficientStatistics)
    some = {name: getattr(data, name)[keep] for name in ("count", "weight", "mean", "rest")}
    return replace(data, **some, log_weight=float(np.log(some["weight"]).sum()), **names)


def _without_of_crossed(data: GroupedRows, keep: NDArray[np.bool_]) -> GroupedRows:
    """Keep some rows of crossed groups."""
    both = [np.unique(own[keep], return_inverse=True) for own in data.crossed]
    levels = []
    for (present, _), level, outer in zip(both, data.levels, data.roles.nesting, strict=True):
        parent = level.parent[present]
        if outer != ROOT:
            parent = np.searchsorted(both[outer][0], parent)
        levels.append(
            GroupLevel(level.column, level.labels[present], level.own_labels[present], parent)
        )
    crossed = tuple(index for _, index in both)
    return replace(
        data,
        y=data.y[keep],
        se=None if data.se is None else data.se[keep],
        columns={name: column[keep] for name, column in data.columns.items()},
        design=replace(data.design, matrix=data.design.matrix[keep]),
        group=crossed[-1],
        crossed=crossed,
        **dict(attributes_of(levels)),
    )


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
