"""Right and wrong samplers of counts in three levels, which share no code with the package.

y_i ~ p(y_i | theta_i),  theta_i ~ N(mu_s, tau²),  mu_s ~ N(lam, kappa²).

lam, log kappa and log tau lie on a grid.  Groups are integrated over their effects as in two
levels, and these integrals, constant within the cells of the grid of mu, over outer effects::

    ∫ f(mu) N(mu | lam, kappa²) dmu ≈ Σ_j f(mu_j) (Φ((mu_j + h/2 − lam)/kappa)
                                                  − Φ((mu_j − h/2 − lam)/kappa))
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import ndtr

from tests.statistical.count_samplers import CHAINS, DRAWS, drawn_place, running_share


class NestedCounts:
    """Of groups as in two levels, the parent of each, and two priors that are still missing.

    ``groups`` brings the grids of mu and tau, and tau's prior.
    """

    def __init__(self, groups, parent, log_prior_of_lam, log_prior_of_kappa, lam, log_kappa):
        self.groups, self.parent = groups, np.asarray(parent)
        self.mu, self.tau = groups.mu[:, 0], groups.tau[0]
        self.lam, self.kappa = lam, np.exp(log_kappa)
        self.steps = lam[1] - lam[0], log_kappa[1] - log_kappa[0], groups.steps[1]
        self.likelihoods = [self.likelihood(s) for s in range(self.parent.max() + 1)]
        mass = self.mass(*(axis.ravel() for axis in np.meshgrid(lam, self.kappa, indexing="ij")))
        shape = len(lam), len(log_kappa), len(self.tau)
        log_density = sum(np.log(mass @ own).reshape(shape) for own in self.likelihoods)
        log_density += log_prior_of_lam(lam)[:, None, None] + groups.log_prior[0]
        log_density += (log_prior_of_kappa(self.kappa) + log_kappa)[:, None]
        self.shape, self.cdf = shape, running_share(log_density)

    def likelihood(self, s):
        """Of the groups within an outer one, given mu and tau, but for a factor."""
        log = sum(self.groups.log_integral(i) for i in np.flatnonzero(self.parent == s))
        return np.exp(log - log.max())

    def mass(self, lam, kappa):
        """Prior mass of each cell of mu given lam and kappa, (n,) each; (n, cells)."""
        half = self.groups.steps[0] / 2
        edges = np.append(self.mu - half, self.mu[-1] + half)
        return np.diff(ndtr((edges - lam[:, None]) / kappa[:, None]), axis=1)

    def draw(self, rng, draws=DRAWS, inner=True):
        """Independent draws as a DataTree, anywhere in their cells; of inner effects if asked."""
        size = CHAINS * draws
        at_lam, at_kappa, at_tau = np.unravel_index(
            np.searchsorted(self.cdf, rng.random(size)), self.shape
        )
        jitter = rng.random((3, size)) - 0.5
        lam = self.lam[at_lam] + self.steps[0] * jitter[0]
        kappa = self.kappa[at_kappa] * np.exp(self.steps[1] * jitter[1])
        tau = self.tau[at_tau] * np.exp(self.steps[2] * jitter[2])
        mass = self.mass(lam, kappa)
        mu = [self.outer_effect(own[:, at_tau].T * mass, rng) for own in self.likelihoods]
        effects = {"mu": ("outer", mu)}
        if inner:
            theta = [self.groups.effect(i, mu[s], tau, rng) for i, s in enumerate(self.parent)]
            effects["theta"] = "inner", theta
        return as_tree({"lam": lam, "kappa": kappa, "tau": tau}, effects)

    def outer_effect(self, mass, rng):
        place = drawn_place(mass, rng)
        return self.mu[place] + self.groups.steps[0] * (rng.random(len(mass)) - 0.5)


def as_tree(scalars, effects):
    """Draws by name, and of effects with the dimension that they have."""
    dims, shape = ("chain", "draw"), (CHAINS, -1)
    draws = {name: (dims, values.reshape(shape)) for name, values in scalars.items()}
    coords = {}
    for name, (dim, values) in effects.items():
        stacked = np.stack(values, axis=-1)
        draws[name] = (*dims, dim), stacked.reshape(CHAINS, -1, stacked.shape[1])
        coords[dim] = np.arange(stacked.shape[1])
    return xr.DataTree.from_dict({"posterior": xr.Dataset(draws, coords)})
