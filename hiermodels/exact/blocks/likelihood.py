"""The likelihood of covariances, restricted or not, and its maximum.

Each level has a lower triangular factor Λ relative to σ, ``T = σ² Λ Λ'``.  Effects are integrated
out, and with ``S = s²`` of the triangle ``[C d; 0 s]`` of
:mod:`hiermodels.exact.kernels.blocks.root`

    restricted   log L = −½ [2 Σ log U_ii + 2 Σ log C_ii + S/σ² + (n − c) log 2πσ²],
    profiled     log L = −½ [2 Σ log U_ii + S/σ² + n log 2πσ²],    plus ½ Σ log ω,

in which an unknown σ² is S/(n − c), or S/n, unless some sd is fixed.  Residual sds of strata are
relative to σ, too, their logarithms δ being further numbers.

Λ is free to have any numbers, of either sign: the likelihood depends on Λ Λ', and is smooth where a
number on the diagonal is 0, so that correlations of ±1 are places like any other.  Sds of 0 are not
where other numbers of Λ can turn into each other; so each set of sds is held at 0 in turn.

References
----------
Bates, Mächler, Bolker & Walker (2015), Journal of Statistical Software 67(1), sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Flags, Floats
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.upward import evaluate
from hiermodels.exact.profile_likelihood import FIRST, PLACES, newton_ascent
from hiermodels.model.priors.variance import Fixed
from hiermodels.numerics.modes import peaks

PILOT = np.arcsinh([0.03, 0.3, 3.0, 30.0])  # places of Λ's diagonal, in units of errors
MAX_ASCENTS = 3  # from peaks of the pilot grid, the highest first
ESCAPED = 25.0  # places at which an ascent is given up
AT_ZERO = 1e-10  # of the log likelihood: what an sd must gain to be larger than 0
LOOKS = 16  # places at which the likelihood's slopes are compared
SHORT = 0.01  # of difference quotients there
SAME = 1e-7  # share of the slopes below which the likelihood does not change in a direction


@dataclass(frozen=True, eq=False)
class BlockLikelihood:
    """The log likelihood at places of the numbers of Λ, some of whose rows are held at 0.

    Attributes
    ----------
    model : BlockModel
        Of which only the rows are asked, what varies, and which sds are fixed.
    restricted : bool
    varying : tuple of int
        Which of the model's sds are neither fixed nor 0.
    """

    model: BlockModel
    restricted: bool
    varying: tuple[int, ...]

    @classmethod
    def of(cls, model: BlockModel, restricted: bool) -> BlockLikelihood:
        """With all sds that are not fixed."""
        free = [i for i, (_, _, prior) in enumerate(model.sds) if not isinstance(prior, Fixed)]
        return cls(model, restricted, tuple(free))

    @cached_property
    def entries(self) -> tuple[tuple[int, int, int], ...]:
        """Level, row and column of each number of Λ."""
        places = [self.model.sds[i][:2] for i in self.varying]
        return tuple(
            (level, i, j)
            for level, i in places
            for other, j in places
            if other == level and (j == i or (j < i and self.model.levels[level].n_correlations))
        )

    @property
    def is_profiled(self) -> bool:
        """Whether σ is where the likelihood given Λ is highest."""
        fixed = [p for p in self.model.sd_priors if isinstance(p, Fixed) and p != Fixed(0)]
        return not isinstance(self.model.sigma, Fixed) and not fixed

    @property
    def dimension(self) -> int:
        """Number of places: those of Λ and δ, then of log σ if it is neither known nor profiled."""
        own = not self.is_profiled and not isinstance(self.model.sigma, Fixed)
        strata = sum(not isinstance(prior, Fixed) for prior in self.model.strata)
        return len(self.entries) + strata + own

    @cached_property
    def errors(self) -> Floats:
        """About the error of each effect in a group by itself, relative to σ; (p,)."""
        blocks = self.model.blocks
        information = (blocks.designs**2).sum(axis=0)[:, blocks.design]
        known = [row[row > 0] for row in information]
        return np.array([np.median(row) ** -0.5 if len(row) else 1.0 for row in known])

    def given_sigma(self, places: Floats) -> Floats:
        """σ where it is not profiled; (n,)."""
        if isinstance(self.model.sigma, Fixed):
            return np.full(len(places), self.model.sigma.value)
        return self.model.typical_sigma * np.exp(places[:, -1])

    def factors(self, places: Floats) -> list[Floats]:
        """Λ of each level, (p, p, n), at places (n, d): in units of errors their arsinh."""
        p = self.model.blocks.p
        factors = [np.zeros((p, p, len(places))) for _ in self.model.levels]
        for (level, i, j), values in zip(self.entries, places.T, strict=False):
            factors[level][i, j] = self.errors[i] * np.sinh(values)
        for level, i, prior in self.model.sds:
            if isinstance(prior, Fixed) and prior.value:
                factors[level][i, i] = prior.value / self.given_sigma(places)
        return factors

    def delta(self, places: Floats) -> Floats:
        """Residual sds of strata relative to σ, that of the last one; (K, n)."""
        model, next_place = self.model, iter(places.T[len(self.entries) :])
        rows = [
            prior.value / self.given_sigma(places)
            if isinstance(prior, Fixed)
            else own.typical_sigma / model.typical_sigma * np.exp(next(next_place))
            for prior, own in zip(model.strata, model.by_stratum, strict=False)
        ]
        return np.array([*rows, np.ones(len(places))])

    def blocks(self, places: Floats) -> Blocks:
        """The rows, those of strata with their residual sds."""
        blocks = self.model.blocks
        return blocks.given(1 / self.delta(places)) if blocks.strata else blocks

    def root(self, places: Floats) -> Root:
        """What all rows say of the coefficients and of σ."""
        return evaluate(self.blocks(places), self.factors(places))

    def sigma(self, places: Floats, root: Root) -> Floats:
        """σ, given or profiled; (n,)."""
        return np.sqrt(root.square / self._df) if self.is_profiled else self.given_sigma(places)

    def __call__(self, places: Floats) -> Floats:
        """Log likelihood at places (n, d); (n,)."""
        root, blocks = self.root(places), self.model.blocks
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma = self.sigma(places, root)
            square = root.square / sigma**2
            constant = root.log_scale if self.restricted else root.log_det
            values = constant - self._df * (np.log(sigma) + 0.5 * LOG_2PI)
        return values + 0.5 * (blocks.log_weight - square)

    @property
    def _df(self) -> int:
        blocks = self.model.blocks
        return blocks.n_rows - (blocks.n_coefficients if self.restricted else 0)


@dataclass(frozen=True, eq=False)
class LikelihoodMaximum:
    """Where a likelihood is highest.

    Attributes
    ----------
    likelihood : BlockLikelihood
    place : (d,)
    log_likelihood : float
    """

    likelihood: BlockLikelihood
    place: Floats
    log_likelihood: float

    @property
    def factors(self) -> list[Floats]:
        """Λ of each level; (p, p, 1)."""
        return self.likelihood.factors(self.place[None])

    @property
    def blocks(self) -> Blocks:
        """The rows, those of strata with their residual sds."""
        return self.likelihood.blocks(self.place[None])

    @cached_property
    def root(self) -> Root:
        """What all rows say of the coefficients and of σ."""
        return self.likelihood.root(self.place[None])

    @property
    def sigma(self) -> float:
        """Estimate of σ."""
        return float(self.likelihood.sigma(self.place[None], self.root)[0])

    @property
    def residual_sds(self) -> Floats:
        """Estimates of the residual sds of strata, σ last; (K,)."""
        return self.sigma * self.likelihood.delta(self.place[None])[:, 0]


def maximize(model: BlockModel, restricted: bool) -> LikelihoodMaximum | None:
    """Find the highest place of the likelihood; None if it rises without end."""
    every = BlockLikelihood.of(model, restricted)
    best: LikelihoodMaximum | None = None
    escaped = -np.inf
    for number in range(len(every.varying) + 1):
        for some in combinations(every.varying, number):
            for found, is_peak in _ascents(BlockLikelihood(model, restricted, some)):
                if not is_peak:
                    escaped = max(escaped, found.log_likelihood)
                elif best is None or found.log_likelihood > best.log_likelihood + AT_ZERO:
                    best = found
    return best if best and best.log_likelihood + AT_ZERO >= escaped else None


def _ascents(likelihood: BlockLikelihood) -> Iterator[tuple[LikelihoodMaximum, bool]]:
    """Yield where ascents end, and whether there is a peak."""
    d = likelihood.dimension
    if not d:
        place = np.empty((1, 0))
        yield LikelihoodMaximum(likelihood, place[0], float(likelihood(place)[0])), True
        return
    diagonal = [e for e, (_, i, j) in enumerate(likelihood.entries) if i == j]
    shape = (len(PILOT),) * len(diagonal)
    grid = np.zeros((*shape, d))
    if diagonal:
        grid[..., diagonal] = np.stack(np.meshgrid(*[PILOT] * len(diagonal), indexing="ij"), -1)
    flat = grid.reshape(-1, d)
    values = likelihood(flat).reshape(shape)
    tops = np.flatnonzero(peaks(values) & np.isfinite(values))
    for start in flat[tops[np.argsort(-values.flat[tops], kind="stable")][:MAX_ASCENTS]]:
        end = newton_ascent(likelihood, start)
        value = float(likelihood(end[None])[0])
        is_peak = bool(np.isfinite(value) and (np.abs(end) < ESCAPED).all())
        yield LikelihoodMaximum(likelihood, end, value), is_peak


def undetermined(model: BlockModel) -> Flags:
    """Sds of which the rows say only what they say of others, too, σ last; (m + K,).

    The rows' covariance is linear in the entries of T and in σ².  If contrasts of the rows do not
    change in a direction δ of these, the likelihood's slopes at any places, as rows of a matrix,
    have the null vector δ.
    """
    every = BlockLikelihood.of(model, restricted=True)
    lacking = np.zeros(len(model.sd_priors) + 1, dtype=bool)
    every_sigma = (*model.strata, model.sigma)
    residual = [k for k, prior in enumerate(every_sigma) if not isinstance(prior, Fixed)]
    size = len(every.entries) + len(residual)
    if not size:
        return lacking
    _, sizes, axes = np.linalg.svd(_slopes(every, size))
    null = np.abs(axes[sizes <= SAME * sizes[0]]).max(axis=0, initial=0.0) > np.sqrt(SAME)
    for (level, i, j), is_null in zip(every.entries, null, strict=False):
        lacking[: len(model.sds)] |= [
            is_null and (own, e) in {(level, i), (level, j)} for own, e, _ in model.sds
        ]
    lacking[[len(model.sds) + k for k in residual]] = null[len(every.entries) :]
    return lacking


def _slopes(every: BlockLikelihood, size: int) -> Floats:
    """Derivatives by entries of T and σ² at random places; (LOOKS, size)."""
    rng = np.random.default_rng(1)
    off_diagonal = [k for k, (_, i, j) in enumerate(every.entries) if i != j]
    steps = (PLACES[:, None, None] * SHORT * np.eye(size)).reshape(-1, size)
    slopes = np.empty((LOOKS, size))
    for own in slopes:
        place = rng.uniform(0.3, 0.9, size)
        place[off_diagonal] *= 0.3
        values = _log_likelihoods(every, place + steps).reshape(len(PLACES), size)
        own[:] = FIRST @ (values - values[len(PLACES) // 2]) / SHORT
    return slopes


def _log_likelihoods(every: BlockLikelihood, columns: Floats) -> Floats:
    """Restricted log likelihood at entries of T, in units of errors, then σ_k² (n, k); (n,)."""
    model, n = every.model, len(columns)
    residual = np.empty((len(model.strata) + 1, n))
    more = iter(columns.T[len(every.entries) :])
    for row, own in zip(residual, model.by_stratum, strict=True):
        known = isinstance(own.sigma, Fixed)
        row[:] = own.typical_sigma * (1.0 if known else np.sqrt(1 + next(more)))
    sigma = residual[-1]
    spreads = np.zeros((len(model.levels), n, model.blocks.p, model.blocks.p))
    for level, i, prior in model.sds:
        spreads[level, :, i, i] = prior.value**2 if isinstance(prior, Fixed) else 1.0
    for (level, i, j), values in zip(every.entries, columns.T, strict=False):
        size = every.errors[i] * every.errors[j] * model.typical_sigma**2
        spreads[level, :, i, j] = spreads[level, :, j, i] = size * (values + (i == j))
    factors = [np.moveaxis(_roots(own), 0, 2) / sigma for own in spreads]
    blocks = model.blocks.given(sigma / residual) if model.strata else model.blocks
    root = evaluate(blocks, factors)
    return root.log_likelihood(sigma, model.blocks.n_rows, model.blocks.log_weight)


def _roots(spreads: Floats) -> Floats:
    """Lower triangular roots of covariances (n, p, p), of which some rows may be 0."""
    some = spreads[0].diagonal() > 0
    roots = np.zeros_like(spreads)
    own = np.ix_(np.arange(len(spreads)), np.flatnonzero(some), np.flatnonzero(some))
    roots[own] = np.linalg.cholesky(spreads[own])
    return roots
