"""Whether the default prior of a variance, which nobody chose, drives the answer.

A prior that is flat on a variance is not one that says nothing: flat on the sd is as flat, and
gives another posterior.  The two are compared, for one sd at a time, as sums over one lattice
with other weights: the ratio r of the priors is 1/sd.  Of any quantity the mean moves by

    cov(quantity, r)/E r  ≤  sd(quantity) · sd(r)/E r,

so that where ``sd(r)/E r`` is small nothing in the model moves, and nothing else is computed: with
many groups, of which the data say how much they differ.

References
----------
Gelman (2006), Bayesian Analysis 1:515 (priors of variances with few groups).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import MEANS, locate
from hiermodels.errors import PriorWarning, warn
from hiermodels.exact.compressed import probe_groups
from hiermodels.exact.grid import Grid
from hiermodels.exact.kernels.records import Moments
from hiermodels.exact.moments import HierarchyMoments
from hiermodels.exact.propriety import members_of
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.model.priors.base import Priors
from hiermodels.model.priors.defaults import describe_prior
from hiermodels.model.priors.variance import FlatSD, FlatVariance
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.moments import SD, of_variables
from hiermodels.posterior.tables import shown

NOTABLE = 0.25  # posterior sds by which another flat prior may move a quantity
TAIL_MASS = 1e-6  # weight of a point, as a part of the largest
MAX_GROUPS = 200  # of which all are looked at; of more, some that stand for them
ONE_SD = (0.158655253931457, 0.5, 0.841344746068543)  # Φ(−1), Φ(0), Φ(1)


@dataclass(frozen=True)
class Move:
    """What a quantity is under the default prior, and under the other one."""

    what: str  # such as "posterior mean of tau"
    old: float
    new: float
    size: float  # of the move, in posterior sds under the default prior

    def __str__(self) -> str:
        old, new = (shown(float(f"{value:.3g}")) for value in (self.old, self.new))
        return f"the {self.what} is {new} in place of {old} ({self.size:.2f} posterior sd away)"


def warn_of_default_prior(grid: Grid, given: Priors) -> None:
    """Warn where the default prior of a group-level variance drives the answer, with figures.

    That is where, under the other flat prior, a hyperparameter, a group's effect or the spread of
    new groups moves by more than a quarter of a posterior sd; or where a hyperparameter has no
    mean or no sd, so that one cannot tell.

    Parameters
    ----------
    grid : Grid
        Of the model and the data.
    given : mapping of str to Prior, str or None
        Priors that the user chose: of these there is no warning.
    """
    spec = grid.spec
    if isinstance(given, str):
        return
    open_to_doubt = [level.sd for level in spec.levels if level.sd not in (given or {})]
    if not open_to_doubt:
        return
    known = HierarchyMoments(spec, grid.marginal.tails)
    lacking = known.counts(of_variables(spec.variables))
    notable = {name: list(_notable(grid, known, name)) for name in open_to_doubt}
    driving = [name for name, moves in notable.items() if moves] or open_to_doubt[: bool(lacking)]
    if not driving:
        return
    said = [_counted(grid, name) for name in driving]
    said += [f"Under these priors {lacking}."] if lacking else []
    said += [_compared(name, notable[name]) for name in driving if notable[name]]
    proper = ", ".join(f"{name!r}: hm.HalfNormal(…)" for name in driving)
    said.append(
        f"State the prior that you mean, such as priors={{{proper}}} or priors='weak'; "
        f".sensitivity() compares them."
    )
    warn(" ".join(said), PriorWarning)


def _counted(grid: Grid, name: str) -> str:
    size, what = grid.marginal.tails.sizes[name], members_of(grid.spec, name)
    return f"{size:,} {what} say little of {name}: its default prior matters."


def _compared(name: str, moves: list[Move]) -> str:
    flat, other = (describe_prior(name, prior) for prior in (FlatVariance(), FlatSD()))
    return f"Under {other}, in place of {flat}, {', '.join(map(str, moves))}."


@one_blas_thread()
def _notable(grid: Grid, known: HierarchyMoments, name: str) -> Iterator[Move]:
    """What moves notably under the other flat prior of an sd: of each kind what moves most."""
    log_sd = grid.marginal.log_sds(grid.lattice.points)[:, grid.marginal.names.index(name)]
    ratio = np.exp(log_sd.min() - log_sd)  # of FlatSD() to FlatVariance()
    other = grid.lattice.weights * ratio
    both = np.stack([grid.lattice.weights, other / other.sum()])
    relative_variance = (both[1] @ ratio) / (both[0] @ ratio) - 1
    if relative_variance < NOTABLE**2 and known.exist([name], SD):
        return
    look = _Look(grid, known, both)
    for moves in (look.sds(name, ratio), look.effects(), look.new_members()):
        worst = max(moves, key=lambda move: move.size, default=None)
        if worst and worst.size >= NOTABLE:
            yield worst


@dataclass(frozen=True)
class _Look:
    """The posterior under both flat priors of one sd."""

    grid: Grid
    known: HierarchyMoments
    weights: Floats  # of the lattice's points under the default prior and the other; (2, n)

    def sds(self, name: str, ratio: Floats) -> Iterator[Move]:
        """Yield the moves of the sds' means, or of the median of the one whose prior is another."""
        marginal = self.grid.marginal
        values = marginal.sds(self.grid.lattice.points)
        means = self.weights @ values
        spread = np.sqrt(self.weights[0] @ (values - means[0]) ** 2)
        for j in marginal.free:
            if self.known.exist([marginal.names[j]], SD):
                yield _moved(f"posterior mean of {marginal.names[j]}", means[:, j], spread[j])
        if not self.known.exist([name], SD):
            laid = self.grid.lattice
            other = replace(laid, log_density=laid.log_density + np.log(ratio))
            low, old, high = self._quantiles(laid, name)
            _, new, _ = self._quantiles(other, name)
            yield _moved(f"posterior median of {name}", np.array([old, new]), (high - low) / 2)

    def effects(self) -> Iterator[Move]:
        """Yield the moves of the means of groups' effects, of the intercept and of coefficients."""
        spec, standard = self.grid.spec, self.grid.marginal.data
        for name in spec.locations:
            if self.known.exist([name], SD):
                means = standard.location + standard.scale * spec.named(self._moments.means)[name]
                variance = spec.named(self._moments.variances)[name][0]
                spread = standard.scale * np.sqrt(variance)
                sizes = np.abs(means[1] - means[0]) / spread
                worst = int(sizes.argmax())
                label = self._label(name, worst)
                yield _moved(
                    f"posterior mean of {name}{label}{self._where}", means[:, worst], spread[worst]
                )
        if spec.covariates and self.known.exist(["beta"], SD):
            yield from self._coefficients()

    def _coefficients(self) -> Iterator[Move]:
        standard = self.grid.marginal.data
        means = standard.scale * self._moments.beta @ standard.basis.T
        covariance = standard.basis @ self._moments.beta_covariance[0] @ standard.basis.T
        spreads = standard.scale * np.sqrt(np.diag(covariance))
        for name, both, spread in zip(self.grid.spec.coefficients, means.T, spreads, strict=True):
            yield _moved(f"posterior mean of {name}", both, spread)

    def new_members(self) -> Iterator[Move]:
        """Yield by how much the sd of a new group's effect changes, at each level."""
        spec, marginal = self.grid.spec, self.grid.marginal
        squares = self.weights @ marginal.sds(self.grid.lattice.points) ** 2
        parents = (spec.intercept, *(level.effect for level in spec.levels[:-1]))
        places = zip(spec.levels, parents, self._moments.variances, strict=False)
        for level, parent, variances in reversed(list(places)):
            if self.known.exist((*([parent] if parent else []), level.sd), SD):
                above = marginal.data.scale**2 * variances
                sds = np.sqrt(squares[:, [marginal.names.index(level.sd)]] + above)
                worst = int(np.abs(sds[1] / sds[0] - 1).argmax())
                what = f"sd of a new {level.column}{self._where}"
                yield _moved(what, sds[:, worst], sds[0, worst])

    @property
    def _where(self) -> str:
        """Where effects are looked at; nothing without covariates."""
        return " at the covariates' means" if self.grid.spec.covariates else ""

    @cached_property
    def _moments(self) -> Moments:
        """Moments of effects at the covariates' means, over the points that matter.

        Of all effects; of many groups, those of some.
        """
        marginal = self.grid.marginal
        largest = self.weights.max(axis=1, keepdims=True)
        kept = (self.weights > TAIL_MASS * largest).any(axis=0)
        weights = self.weights[:, kept]
        return marginal.given(self.grid.lattice.points[kept]).mixture(
            weights / weights.sum(axis=1, keepdims=True),
            marginal.data.origin_at(locate(self.grid.data, MEANS).of(ROOT)),
            self._groups,
        )

    @cached_property
    def _groups(self) -> Indices:
        tree = self.grid.marginal.data.tree
        return np.arange(tree.n_groups) if tree.n_groups <= MAX_GROUPS else probe_groups(tree)

    def _label(self, name: str, place: int) -> str:
        """How a group is called, in brackets; nothing for the intercept."""
        level, levels = self.grid.spec.level_of(name), self.grid.data.levels
        if level == ROOT:
            return ""
        member = self._groups[place] if level == len(levels) - 1 else place
        return f"[{levels[level].labels[member]}]"

    def _quantiles(self, laid: Lattice, name: str) -> Floats:
        """Median of an sd, between the ends of its central 68 % interval."""
        exact = IntegratedPosterior(self.grid.spec, self.grid.data, self.grid.marginal, laid)
        return exact.quantile(ONE_SD, [name])[name].to_numpy()


def _moved(what: str, both: Floats, spread: float) -> Move:
    old, new = both.tolist()
    return Move(what, old, new, abs(new - old) / float(spread))
