"""The likelihood of the sds of crossed groups, restricted or not, and its maximum.

With what all rows say of coefficients and σ (:mod:`hiermodels.exact.kernels.blocks.root`)

    restricted   log L = log_det − Σ log C_ii − ½ S/σ² − ½ (n − c) log 2πσ²,
    profiled     log L = log_det − ½ S/σ² − ½ n log 2πσ²,    plus ½ Σ log ω,

in which an unknown σ² is S/(n − c), or S/n.  Each set of sds is held at 0 in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.crossed.upward import evaluate
from hiermodels.exact.profile_likelihood import newton_ascent
from hiermodels.model.priors.variance import Fixed

PILOT = np.arcsinh([0.1, 1.0, 10.0])  # places of sds, in units of errors
ESCAPED = 25.0  # places at which an ascent is given up
AT_ZERO = 1e-10  # of the log likelihood: what an sd must gain to be larger than 0


@dataclass(frozen=True, eq=False)
class CrossedLikelihood:
    """The log likelihood at places of the sds, some of which are held at 0.

    Attributes
    ----------
    model : CrossedModel
    restricted : bool
    varying : tuple of int
        Which sds are neither fixed nor 0.
    """

    model: CrossedModel
    restricted: bool
    varying: tuple[int, ...]

    @cached_property
    def errors(self) -> Floats:
        """About the error of a member by itself, relative to σ; (K,)."""
        rows = self.model.rows
        count = [np.bincount(own, rows.weights) for own in rows.members]
        return np.array([np.median(own[own > 0]) ** -0.5 for own in count])

    def theta(self, places: Floats) -> Floats:
        """Sds relative to σ at places (n, d), in units of errors their arsinh; (K, n)."""
        theta = np.zeros((len(self.model.sd_priors), len(places)))
        known = self.model.sigma.value if isinstance(self.model.sigma, Fixed) else 1.0
        for k, prior in enumerate(self.model.sd_priors):
            if isinstance(prior, Fixed):
                theta[k] = prior.value / known
        for k, own in zip(self.varying, places.T, strict=True):
            theta[k] = np.abs(self.errors[k] * np.sinh(own))
        return theta

    def root(self, places: Floats) -> Root:
        """What all rows say of the coefficients and of σ."""
        return evaluate(self.model.design, self.theta(places))

    @property
    def df(self) -> int:
        """Number of rows, less that of coefficients where the likelihood is restricted."""
        return self.model.n_rows - (self.model.n_coefficients if self.restricted else 0)

    def sigma(self, root: Root) -> Floats:
        """σ, known or where the likelihood is highest; (n,)."""
        if isinstance(self.model.sigma, Fixed):
            return np.full(len(root.log_det), self.model.sigma.value)
        return np.sqrt(root.square / self.df)

    def __call__(self, places: Floats) -> Floats:
        """Log likelihood at places (n, d); (n,)."""
        root = self.root(places)
        sigma = self.sigma(root)
        constant = root.log_scale if self.restricted else root.log_det
        with np.errstate(divide="ignore", invalid="ignore"):
            values = constant - self.df * (np.log(sigma) + 0.5 * LOG_2PI)
            return values + 0.5 * (self.model.log_weight - root.square / sigma**2)


@dataclass(frozen=True, eq=False)
class CrossedMaximum:
    """Where a likelihood is highest.

    Attributes
    ----------
    theta : (K,)
        Sds relative to σ.
    sigma : float
    log_likelihood : float
    """

    theta: Floats
    sigma: float
    log_likelihood: float


def maximize(model: CrossedModel, restricted: bool) -> CrossedMaximum | None:
    """Find the highest place of the likelihood; None if it rises without end."""
    free = [k for k, prior in enumerate(model.sd_priors) if not isinstance(prior, Fixed)]
    best: CrossedMaximum | None = None
    escaped = -np.inf
    for number in range(len(free) + 1):
        for some in combinations(free, number):
            likelihood = CrossedLikelihood(model, restricted, some)
            end = _climbed(likelihood)
            value = float(likelihood(end[None])[0])
            if not (np.isfinite(value) and (np.abs(end) < ESCAPED).all()):
                escaped = max(escaped, value)
            elif best is None or value > best.log_likelihood + AT_ZERO:
                root = likelihood.root(end[None])
                sigma = float(likelihood.sigma(root)[0])
                best = CrossedMaximum(likelihood.theta(end[None])[:, 0], sigma, value)
    return best if best and not escaped > best.log_likelihood + AT_ZERO else None


def _climbed(likelihood: CrossedLikelihood) -> Floats:
    """Where an ascent ends that begins at the best place of a coarse grid."""
    d = len(likelihood.varying)
    if not d:
        return np.empty(0)
    grid = np.stack(np.meshgrid(*[PILOT] * d, indexing="ij"), axis=-1).reshape(-1, d)
    return newton_ascent(likelihood, grid[np.argmax(likelihood(grid))])
