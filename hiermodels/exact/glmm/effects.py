"""Exact draws of the groups' effects given τ and the coefficients, by rejection from tangents.

Given these, effects of different groups are independent, with the log-concave densities

    p(b_g | γ, τ, y) ∝ exp{Σ_{i∈g} v_i(o_i + x_i'γ + b_g)} N(b_g | 0, τ²).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.seeds import stream
from hiermodels.core.threads import for_each
from hiermodels.exact.glmm.integrals import Middles, middles_of
from hiermodels.exact.glmm.rows import CountRows
from hiermodels.exact.kernels.leaves.tangents import draw_below_tangents

NUMBERS = 1 << 17  # of rows and draws that are worked on at a time
ROUGHLY = 0.05  # sds, to which the modes are found
LEAST = 1e-12  # information of a group beside that of its prior


@dataclass(frozen=True, eq=False)
class GroupFunctions:
    """Log likelihoods of k groups of m rows each, as functions of their effects.

    They are concave, as :func:`draw_below_tangents` takes them.

    Attributes
    ----------
    rows : CountRows
    index : (k, m)
        The groups' rows.
    eta : (k, m)
        Linear predictors without effects.
    centre, information : (k,)
        About where each lies, and the inverse square of about its width.
    """

    rows: CountRows
    index: Indices
    eta: Floats
    centre: Floats
    information: Floats

    @classmethod
    def of(cls, rows: CountRows, eta: Floats, tau: Floats, middles: Middles) -> Self:
        """Those of all groups, of m rows each, at J settings: k = gJ of them.

        Each lies where a normal likelihood would that has the same mode and curvature there.

        Parameters
        ----------
        eta : (gm, J)
        tau : (J,)
        middles : Middles
            Of the g groups.
        """
        g, size = rows.n_groups, len(tau)
        own = eta.reshape(g, -1, size).swapaxes(1, 2).reshape(g * size, -1)
        index = np.arange(len(eta)).reshape(g, 1, -1)
        index = np.broadcast_to(index, (g, size, index.shape[2])).reshape(own.shape)
        curvature = np.maximum(middles.root**2 - 1, LEAST)
        centre = tau * middles.z * (1 + 1 / curvature)
        information = curvature / np.maximum(tau, np.sqrt(LEAST)) ** 2
        return cls(rows, index, own, centre.ravel(), information.ravel())

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def _total(self) -> Floats:
        """Sums of the counts; (k, 1)."""
        return self.rows.y[self.index].sum(axis=1, keepdims=True)

    def log_likelihood(self, theta: Floats) -> Floats:
        """``Σ_i v_i``, up to a constant, at effects (k, K)."""
        below = self.rows.normaliser(self.eta[..., None], self.index, theta[:, None])
        return self._total * theta - below[:, 0]

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """The same, its slope, and minus its second derivative."""
        mean, variance = self.rows.own_sums_of_moments(self.eta, self.index, theta)
        return self.log_likelihood(theta), self._total - mean, variance

    def take(self, groups: Indices) -> Self:
        """Some of them."""
        arrays = (getattr(self, own.name)[groups] for own in fields(self)[1:])
        return type(self)(self.rows, *arrays)


@one_blas_thread()
def draw_effects(
    rows: CountRows,
    gamma: Floats,
    tau: Floats,
    seed: np.random.SeedSequence,
    groups: Indices | None = None,
    above: Floats | None = None,
) -> Floats:
    """Draw the effects of all groups or of some, once for each setting; (g, J).

    A group's draws are the same whichever others are drawn, and for any number of threads: each
    block of groups has random numbers of its own.

    Parameters
    ----------
    rows : CountRows
    gamma : (J, p)
    tau : (J,)
    seed : numpy.random.SeedSequence
    groups : (g,), optional
    above : (G, J), optional
        Added to the linear predictors of each group: the effects of outer ones.
    """
    wanted = np.arange(rows.n_groups) if groups is None else groups
    place = np.full(rows.n_groups, -1)
    place[wanted] = np.arange(len(wanted))
    drawn = np.empty((len(wanted), len(tau)))
    blocks = list(rows.blocks(max(1, NUMBERS // len(tau))))
    some = [number for number, (own, _) in enumerate(blocks) if (place[own] >= 0).any()]

    def draw(number: int) -> None:
        own, index = blocks[number]
        shift = np.zeros((len(own), 1)) if above is None else above[own]
        values = _draw_block(rows, index, (gamma, tau, shift), stream(seed, number))
        here = place[own] >= 0
        drawn[place[own[here]]] = values[here]

    for_each(draw, some)
    return drawn


def _draw_block(
    rows: CountRows,
    index: Indices,
    settings: tuple[Floats, Floats, Floats],
    rng: np.random.Generator,
) -> Floats:
    """Draw the effects of groups with rows (g, m); (g, J).

    The settings are coefficients (J, p), sds (J,), and effects of outer groups, (g, J) or (g, 1).
    """
    gamma, tau, above = settings
    g, m = index.shape
    drawn = np.empty((g, len(tau)))
    own = rows.take(index.ravel(), np.arange(g) * m)
    step = max(1, NUMBERS // index.size)
    for start in range(0, len(tau), step):
        some = slice(start, start + step)
        eta, sds = own.linear(gamma[some]), tau[some]
        eta += np.repeat(np.broadcast_to(above, drawn.shape)[:, some], m, axis=0)
        middles = middles_of(own, eta, sds, near=ROUGHLY)
        functions = GroupFunctions.of(own, eta, sds, middles)
        mu, sd = np.zeros((len(functions), 1)), np.tile(sds, g)[:, None]
        drawn[:, some] = draw_below_tangents(functions, mu, sd, rng).reshape(g, -1)
    return drawn
