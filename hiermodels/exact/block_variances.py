"""Variances and shares of them where groups have several effects, or many levels.

At covariates z the groups of a level have the variance ``v = z'T z``, ``T = σ² Λ Λ'``, around their
parents', and rows have σ².  At nodes of the lattice

    E v = Σ w q E σ²,    Var v = Σ w (q² Var σ² + (q E σ² − E v)²),    q = |Λ'z|²,

w being the nodes' weights, and the share of a level in the total is ``q/(Σ q + 1)``, free of σ; of
rows of a stratum, whose variance is σ²δ², it is ``q/(Σ q + δ²)``.
Quantiles of both are those of many exact draws of the sds and correlations; of intercepts alone
they are integrals over the lattice (:mod:`hiermodels.exact.variance_shares`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import Layout, place_of_residual_sds
from hiermodels.exact.blocks.draws import BlockDraws
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.exact.variance_shares import Shares, typical_se
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice, ModesAndScale
from hiermodels.posterior.moments import FOURTH
from hiermodels.posterior.tables import shown
from hiermodels.posterior.variance_shares import VarianceShares

DRAWS = 40_000  # for quantiles of shares
SEED = 1  # of these
MAX_NODES = 1 << 14  # at which the law of σ is held at a time


@dataclass(frozen=True, eq=False)
class BlockVariances:
    """Variances of a posterior at covariates.

    Attributes
    ----------
    spec : Spec
    data : GroupedData
    posterior : BlockPosterior
    x : (q,)
        Covariates at which the effects of slopes are.
    """

    spec: Spec
    data: GroupedData
    posterior: BlockPosterior
    x: Floats

    def moments_of_squares(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and sd of the square of each sd; nan where they do not exist."""
        names_of_all = [*self.posterior.model.names, self.posterior.model.sigma_name]
        theta2 = np.exp(2 * self._values.log_theta)
        theta2 = np.vstack([theta2, np.ones(theta2.shape[1])])
        moments = []
        for name in names:
            sd = names_of_all.index(name)
            moments.append(self._moments(theta2[sd], (sd,)))
            if name in self.spec.fixed:
                moments[-1] = self.spec.fixed[name] ** 2, 0.0
        return moments

    @one_blas_thread()
    def shares(self, probabilities: Floats) -> VarianceShares:
        """Mean, sd and quantiles of each level's variance at x, and of its share of the total."""
        if self._is_of_intercepts:
            numbers = {level.column: i for i, level in enumerate(self.spec.levels)}
            rows_of = Shares.of(BlockSpreads(self), numbers).rows(probabilities)
            return VarianceShares(rows_of, self._notes)
        rows: dict[str, list[float]] = {}
        q, drawn, sigma = self._q(self._values), self._q(self._drawn.values), self._drawn.sigma
        for number, level in enumerate(self.spec.levels):
            if level.has_slopes:
                sds = tuple(Layout(self.spec).sds(number).tolist())
                quantiles = np.quantile(drawn[number] * sigma**2, probabilities)
                rows[f"var[{level.column}]"] = [
                    *self._moments(q[number], sds),
                    *quantiles,
                ]
        for stratum in self.spec.strata or ("",):
            rows |= self._shares_of(stratum, (q, drawn), probabilities)
        is_free = self.posterior.marginal.coordinates.dimension > 0
        return VarianceShares(rows, self._notes, are_drawn=is_free)

    @property
    def _is_of_intercepts(self) -> bool:
        """Whether shares are functions of the sds of intercepts alone."""
        model = self.posterior.model
        is_on_lattice = self.spec.has_sigma and not model.relative
        one = model.blocks.p == 1 and not self.spec.has_slopes
        even = isinstance(self.posterior.lattice, Lattice)
        return one and even and not self.spec.strata and not is_on_lattice

    def _shares_of(
        self, stratum: str, both: tuple[Floats, Floats], probabilities: Floats
    ) -> dict[str, list[float]]:
        """Shares of each level, and of the rows, in the variance of rows of a stratum.

        Parameters
        ----------
        stratum : str
            Nothing where there are none.
        both : (levels, n) and (levels, M)
            q at the nodes, and of draws.
        """
        residual = [self._residual(stratum, v) for v in (self._values, self._drawn.values)]
        totals = [q.sum(axis=0) + rest for q, rest in zip(both, residual, strict=True)]
        more = f", {stratum}" if stratum else ""
        columns, rows = [level.column for level in self.spec.levels], {}
        for number, name in enumerate(columns):
            shares = [q[number] / total for q, total in zip(both, totals, strict=True)]
            rows[f"share[{name}{more}]"] = self._row(shares, probabilities)
        rest = [own / total for own, total in zip(residual, totals, strict=True)]
        rows[f"share[residual{more}]"] = self._row(rest, probabilities)
        if len(columns) > 1:
            same = [1 - own for own in rest]
            rows[f"icc[{columns[-1]}{more}]"] = self._row(same, probabilities)
        return rows

    def _row(self, both: Sequence[Floats], probabilities: Floats) -> list[float]:
        """Mean and sd by sums over the nodes, then quantiles of draws."""
        at_nodes, drawn = both
        mean = float(self._weights @ at_nodes)
        sd = float(np.sqrt(self._weights @ (at_nodes - mean) ** 2))
        return [mean, sd, *np.quantile(drawn, probabilities)]

    @property
    def _notes(self) -> tuple[str, ...]:
        spec, columns = self.spec, self.spec.groups
        notes = ["share[…]: part of the total variance"]
        if spec.has_slopes:
            slopes = [level.column for level in spec.levels if level.has_slopes]
            notes[0] += f", and var[{', '.join(slopes)}] the groups' variance at the same x"
        if spec.has_known_errors:
            typical = shown(typical_se(self.data))
            notes[0] += f"; residual: a typical row's sampling variance, {typical}²"
        if spec.strata:
            notes[0] += f"; of rows of each {spec.columns[STRATA]}"
        if WEIGHTS in spec.columns:
            notes[0] += "; residual: the variance of a row of weight 1"
        if len(columns) > 1:
            notes.append(f"icc[{columns[-1]}]: correlation of two rows of one {columns[-1]}")
        if self.posterior.marginal.coordinates.dimension and not self._is_of_intercepts:
            notes.append(
                f"their quantiles: of {DRAWS:,} exact draws; the Monte Carlo sd of the "
                f"probabilities is at most {0.5 / np.sqrt(DRAWS):.2g}"
            )
        return tuple(notes)

    def _residual(self, stratum: str, values: Values) -> Floats:
        """The rows' variance in units of σ², or of 1 where the standard errors are known; (n,)."""
        size = values.log_theta.shape[1]
        if self.spec.se:
            return np.full(size, typical_se(self.data) ** 2)
        if not stratum:
            return np.ones(size)
        place = place_of_residual_sds(self.spec, self.data)[self.spec.strata.index(stratum)]
        log_delta = self.posterior.marginal.coordinates.log_delta(values)
        return np.exp(2 * log_delta[place - len(self.posterior.model.sds)])

    def _q(self, values: Values) -> Floats:
        """``|Λ'z|²`` of each level at n nodes, z being 1 and x; (levels, n)."""
        (z,), _ = Layout(self.spec).split(self.x[None])
        factors = self.posterior.marginal.coordinates.factors(values)
        levels = factors[: len(self.spec.levels)]
        return np.array([(np.einsum("p,pqn->qn", z, f) ** 2).sum(axis=0) for f in levels])

    def _moments(self, q: Floats, sds: tuple[int, ...]) -> tuple[float, float]:
        """Mean and sd of ``q σ²``, which sds take part in; nan where they do not exist."""
        tails = self.posterior.marginal.tails
        center, variance = self._sigma2
        exists = [all(tails.moment_exists(sd, order) for sd in sds) for order in (2, FOURTH)]
        mean = float(self._weights @ (q * center)) if exists[0] else np.nan
        if not exists[1]:
            return mean, np.nan
        root = np.sqrt(self._weights)  # beside which squares are not too large for a number
        square = ((root * q) ** 2 * variance + (root * (q * center - mean)) ** 2).sum()
        return mean, float(np.sqrt(square))

    @cached_property
    def _laid(self) -> tuple[Lattice | PairNodes, Root]:
        """A lattice that is wide enough for fourth moments, and what the rows say at its nodes."""
        if isinstance(self.posterior.lattice, PairNodes):
            return self.posterior.lattice, self.posterior.root
        return self._marginal.laid(self.posterior.lattice.spacing)

    @cached_property
    def _marginal(self) -> BlockMarginal:
        marginal = self.posterior.marginal
        return replace(marginal, tails=replace(marginal.tails, highest=FOURTH))

    @property
    def _weights(self) -> Floats:
        return self._laid[0].weights

    @cached_property
    def _values(self) -> Values:
        return self._marginal.coordinates.values(self._laid[0].points)

    @cached_property
    def _sigma2(self) -> tuple[Floats, Floats]:
        """Mean and variance of σ² at the nodes; (n,) each."""
        (_, root), values, scale = self._laid, self._values, self._marginal.scale
        if values.log_sigma is not None:
            return np.exp(2 * values.log_sigma), np.zeros(len(values.log_sigma))
        mean, variance = np.empty((2, len(root.log_det)))
        for first in range(0, len(mean), MAX_NODES):
            part = np.arange(first, min(first + MAX_NODES, len(mean)))
            s, weights = scale.rule(root.at(part), values.log_theta[:, part])
            sigma2 = np.exp(2 * s)
            mean[part] = (weights * sigma2).sum(axis=1)
            variance[part] = (weights * (sigma2 - mean[part, None]) ** 2).sum(axis=1)
        return mean, variance

    @cached_property
    def _drawn(self) -> BlockDraws:
        return BlockDraws.draw(self.posterior.marginal, DRAWS, np.random.default_rng(SEED))


@dataclass(frozen=True, eq=False)
class BlockSpreads:
    """Variances of intercepts, in units of σ²: see :class:`~variance_shares.Spreads`.

    Attributes
    ----------
    of : BlockVariances
    """

    of: BlockVariances

    @property
    def lattice(self) -> Lattice:
        """The posterior's."""
        assert isinstance(self.of.posterior.lattice, Lattice)
        return self.of.posterior.lattice

    @property
    def columns(self) -> tuple[int, ...]:
        """Sds that are not fixed."""
        on_lattice = self.of.posterior.marginal.coordinates.on_lattice
        return tuple(j for j, place in enumerate(on_lattice) if place is not None)

    @property
    def mode_and_scale(self) -> ModesAndScale:
        """Where the posterior lies."""
        return self.of.posterior.marginal.mode_and_scale

    def log_density(self, points: Floats) -> Floats:
        """Of the coordinates (n, d); (n,)."""
        return self.of.posterior.marginal.log_density(points)

    def variances(self, points: Floats) -> Floats:
        """``θ²`` of each level, the outermost first, then 1 or a typical sampling variance."""
        values = self.of.posterior.marginal.coordinates.values(points)
        return np.column_stack([*np.exp(2 * values.log_theta), self.of._residual("", values)])

    def coordinate(self, axis: int, variance: Floats) -> Floats:
        """Where a variance of a coordinate stands on its axis; (n,)."""
        own = self.of.posterior.marginal.coordinates.axes[self.columns[axis]]
        assert isinstance(own, SdAxis)
        return own.coordinate(np.sqrt(variance))
