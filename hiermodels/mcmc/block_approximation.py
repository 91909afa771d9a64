"""Where the posterior of groups with several effects lies, about.

Effects and coefficients are integrated out (:mod:`hiermodels.exact.kernels.blocks`) at a few
settings of the sds, correlations being 0: each sd in turn moves to where the density of its
logarithm is highest on a coarse grid, until none does.  Given these sds effects and coefficients
are normal.

It is no more than a look: coordinates in which NUTS finds its way, starting values, and the choice
of a parameterization come from it; the posterior does not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import Layout, block_model
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.propriety import check
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.downward import Gain
from hiermodels.exact.kernels.blocks.moments import conditionals
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.upward import messages
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec

STEP = 1.0  # of the grid, in log variances
BEYOND = 6.0  # log variances that the residual variance may differ from what is typical
SWEEPS = 4


@dataclass(frozen=True, eq=False)
class BlockApproximation:
    """Sds at about the mode, and the effects and coefficients given them.

    Attributes
    ----------
    layout : Layout
    marginal : BlockMarginal
    log_sds : (m + 1,)
        Logarithms of the sds, the outermost level's first, those of strata behind them, and of σ
        last; −∞ for 0.
    """

    layout: Layout
    marginal: BlockMarginal
    log_sds: Floats

    @classmethod
    @one_blas_thread()
    def of(cls, spec: Spec, data: GroupedData) -> BlockApproximation:
        """Look for the mode.

        Raises
        ------
        ImproperPosteriorError
            If the posterior does not exist.
        """
        model = block_model(spec, data)
        marginal = BlockMarginal(model, check(model))
        places = _grid(marginal)
        here = _start(marginal, places)
        for _ in range(SWEEPS):
            before = here.copy()
            for j, axis in enumerate(places):
                if len(axis) > 1:
                    points = np.repeat(here[None], len(axis), axis=0)
                    points[:, j] = axis
                    here[j] = axis[np.argmax(_log_density(marginal, points))]
            if (here == before).all():
                break
        return cls(Layout(spec), marginal, here)

    @property
    def sds(self) -> Floats:
        """The sds τ of all levels, in the outcome's unit, and σ last; (m + 1,)."""
        return np.exp(self.log_sds)

    @cached_property
    def _factors(self) -> list[Floats]:
        return self.marginal.coordinates.factors(_values(self.marginal, self.log_sds[None]))

    @cached_property
    def _blocks(self) -> Blocks:
        return self.marginal.coordinates.blocks(_values(self.marginal, self.log_sds[None]))

    @cached_property
    def _root(self) -> Root:
        return _root(self.marginal, self.log_sds[None])

    @cached_property
    def mean(self) -> Floats:
        """Of the coefficients; (c,)."""
        mean = self._root.mean[:, 0].copy()
        mean[len(mean) - self.marginal.model.blocks.q :] += self.marginal.anchor
        return mean

    @cached_property
    def covariance(self) -> Floats:
        """Of the coefficients; (c, c)."""
        return self._root.covariance[:, :, 0] * self.sds[-1] ** 2

    @cached_property
    def effects(self) -> list[tuple[Floats, Floats]]:
        """Means and sds of each level's effects, in the order of its terms; (u, e) both."""
        blocks, root, size = self._blocks, self._root, self.sds[-1:] ** 2
        found = [np.empty((2, blocks.p, members)) for members in blocks.sizes]
        for _, level, members, given in conditionals(blocks, self._factors):
            mean, covariance = given.moments(root.mean, root.covariance * size, size)
            sd = np.sqrt(np.einsum("iiun->iun", covariance))
            found[level][:, :, members] = mean[..., 0], sd[..., 0]
        varying = [self.layout.effects(number) for number in range(len(self.layout.spec.levels))]
        return [(found[i][0][some].T, found[i][1][some].T) for i, some in enumerate(varying)]

    @property
    def intercept(self) -> float:
        """Of the population; 0 without one."""
        return float(self.mean[self.layout.intercept]) if self.layout.spec.intercept else 0.0

    @cached_property
    def error_of_intercept(self) -> float:
        """Sd of the intercept given β."""
        own, top = self.layout.beta, self.layout.intercept
        along = self.covariance[own, top]
        explained = along @ np.linalg.solve(self.covariance[np.ix_(own, own)], along)
        return float(np.sqrt(self.covariance[top, top] - explained))

    @cached_property
    def beta(self) -> tuple[Floats, Floats]:
        """Mean (q,) of β, and a basis (q, q): ``basis @ basis'`` is about its covariance."""
        own = self.layout.beta
        return self.mean[own], np.linalg.cholesky(self.covariance[np.ix_(own, own)])

    @cached_property
    def shift(self) -> Floats:
        """Covariates at which the intercept depends least on β; (q,)."""
        own, top = self.layout.beta, self.layout.intercept
        return -np.linalg.solve(self.covariance[np.ix_(own, own)], self.covariance[own, top])

    def weights_of_data(self) -> list[Floats]:
        """The weight of the data in each effect, given its parent's and the sds; (u, e) by level.

        ``1 − Var(effect | data)/τ²``, which is ``1 − B`` of intercepts that vary alone; 0 where τ
        is 0.
        """
        blocks, factors = self._blocks, self._factors
        above = [(message[:, : blocks.p], None) for message in messages(blocks, factors)]
        said = [*above, (blocks.scaled(blocks.designs), blocks.design)]
        weights = []
        for number, (r, members) in enumerate(said[: len(self.layout.spec.levels)]):
            gain = Gain.of(r, factors[number])
            own = np.einsum("iiu->iu", gain.own[..., 0])
            size = (factors[number][:, :, 0] ** 2).sum(axis=1)[:, None]
            weight = np.where(size > 0, 1 - own / np.where(size > 0, size, 1.0), 0.0)
            weight = weight[self.layout.effects(number)].T
            weights.append(weight if members is None else weight[members])
        return weights


def _unit(marginal: BlockMarginal, axis: SdAxis) -> float:
    """Logarithm of what an axis has its sd in."""
    model = marginal.model
    return float(np.log(model.typical_sigma if model.relative else axis.scale))


def _start(marginal: BlockMarginal, places: list[Floats]) -> Floats:
    """Places of the grid that are nearest to the middle of where data speak of each sd."""
    middle = [
        np.mean(axis.informed) / 2 + _unit(marginal, axis) if isinstance(axis, SdAxis) else at[0]
        for axis, at in zip(marginal.coordinates.axes, places[:-1], strict=True)
    ]
    middle.append(np.log(marginal.model.typical_sigma))
    near = zip(middle, places, strict=True)
    return np.array([at[0] if len(at) < 2 else at[np.abs(at - m).argmin()] for m, at in near])


def _grid(marginal: BlockMarginal) -> list[Floats]:
    """Logarithms of each sd, and of σ last, to look at."""
    model, typical = marginal.model, np.log(marginal.model.typical_sigma)
    places = []
    for axis in marginal.coordinates.axes:
        if isinstance(axis, SdAxis):
            places.append(axis.log_sd(axis.pilot_places(STEP)) + _unit(marginal, axis))
        else:
            with np.errstate(divide="ignore"):
                places.append(np.array([np.log(axis)]))
    known = isinstance(model.sigma, Fixed)
    steps = np.zeros(1) if known else np.arange(-BEYOND, BEYOND + STEP, STEP) / 2
    return [*places, typical + steps]


def _values(marginal: BlockMarginal, points: Floats) -> Values:
    """Hyperparameters at logarithms of sds (n, m + 1); correlations are 0."""
    log_sigma = points[:, -1]
    z = np.zeros((marginal.coordinates.n_correlations, len(points)))
    return Values(points[:, :-1].T - log_sigma, z, log_sigma, np.zeros(len(points)))


def _root(marginal: BlockMarginal, points: Floats) -> Root:
    model, sigma = marginal.residual, np.exp(points[:, -1])
    root = marginal.root(_values(marginal, points))
    return root.with_prior(model.mean, model.precision, sigma)


def _log_density(marginal: BlockMarginal, points: Floats) -> Floats:
    """Log density of logarithms of sds (n, m + 1), of which some may be fixed; (n,)."""
    model, sigma = marginal.residual, np.exp(points[:, -1])
    root, blocks = _root(marginal, points), model.blocks
    total = root.log_likelihood(sigma, blocks.n_rows, blocks.log_weight)
    for prior, t in zip((*model.sd_priors, model.sigma), points.T, strict=True):
        if not isinstance(prior, Fixed):
            total = total + prior.log_density_log_sd(t)
    return total
