"""Variances and shares of them where groups have several effects, or many levels.

At covariates z the groups of a level have the variance ``v = z'T z``, ``T = σ² Λ Λ'``, around their
parents', and rows have σ².  Moments of v are sums over nodes of the lattice
(:mod:`hiermodels.exact.sd_squares`) with ``q = |Λ'z|²``, and the share of a level in the total is
``q/(Σ q + 1)``, free of σ; of rows of a stratum, whose variance is σ²δ², it is ``q/(Σ q + δ²)``.
Quantiles of both are those of many exact draws of the sds and correlations; of intercepts alone
they are integrals over the lattice (:mod:`hiermodels.exact.variance_shares`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import Layout, place_of_residual_sds
from hiermodels.exact.blocks.draws import BlockDraws
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.sd_squares import SdSpreads, SdSquares
from hiermodels.exact.variance_shares import Shares, notes_of_shares, typical_se
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.variance_shares import VarianceShares

DRAWS = 40_000  # for quantiles of shares
SEED = 1  # of these


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
        return [self._squares.moments_of_sd(names_of_all.index(name)) for name in names]

    @one_blas_thread()
    def shares(self, probabilities: Floats) -> VarianceShares:
        """Mean, sd and quantiles of each level's variance at x, and of its share of the total."""
        if self._is_of_intercepts:
            numbers = {level.column: i for i, level in enumerate(self.spec.levels)}
            rows_of = Shares.of(SdSpreads(self.posterior, self._row_variance), numbers).rows(
                probabilities
            )
            return VarianceShares(rows_of, self._notes)
        rows: dict[str, list[float]] = {}
        q, drawn, sigma = self._q(self._values), self._q(self._drawn.values), self._drawn.sigma
        for number, level in enumerate(self.spec.levels):
            if level.has_slopes:
                sds = tuple(Layout(self.spec).sds(number).tolist())
                quantiles = np.quantile(drawn[number] * sigma**2, probabilities)
                rows[f"var[{level.column}]"] = [
                    *self._squares.moments(q[number], sds),
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
        notes = list(notes_of_shares(self.spec, self.data))
        if self.posterior.marginal.coordinates.dimension and not self._is_of_intercepts:
            notes.append(
                f"their quantiles: of {DRAWS:,} exact draws; the Monte Carlo sd of the "
                f"probabilities is at most {0.5 / np.sqrt(DRAWS):.2g}"
            )
        return tuple(notes)

    def _residual(self, stratum: str, values: Values) -> Floats:
        """The rows' variance in units of σ², or of 1 where the standard errors are known; (n,)."""
        if not stratum:
            return np.full(values.log_theta.shape[1], self._row_variance)
        place = place_of_residual_sds(self.spec, self.data)[self.spec.strata.index(stratum)]
        log_delta = self.posterior.marginal.coordinates.log_delta(values)
        return np.exp(2 * log_delta[place - len(self.posterior.model.sds)])

    @property
    def _row_variance(self) -> float:
        """The same of a typical row, without strata."""
        return typical_se(self.data) ** 2 if self.spec.se else 1.0

    def _q(self, values: Values) -> Floats:
        """``|Λ'z|²`` of each level at n nodes, z being 1 and x; (levels, n)."""
        (z,), _ = Layout(self.spec).split(self.x[None])
        factors = self.posterior.marginal.coordinates.factors(values)
        levels = factors[: len(self.spec.levels)]
        return np.array([(np.einsum("p,pqn->qn", z, f) ** 2).sum(axis=0) for f in levels])

    @cached_property
    def _squares(self) -> SdSquares:
        return SdSquares(self.posterior)

    @property
    def _weights(self) -> Floats:
        return self._squares.weights

    @property
    def _values(self) -> Values:
        return self._squares.values

    @cached_property
    def _drawn(self) -> BlockDraws:
        return BlockDraws.draw(self.posterior.marginal, DRAWS, np.random.default_rng(SEED))
