"""Moments of effects averaged over nodes of the covariances.

At a node effects have a mean m and a covariance V; over nodes with weights w

    E θ = Σ w m,    Cov θ = Σ w (V + (m − r)(m − r)') − (E θ − r)(E θ − r)',

whatever r is.  With the mean at the heaviest node for r, few digits are lost in the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.downward import Conditional, downward
from hiermodels.exact.kernels.blocks.upward import NUMBERS, batches, messages


@dataclass(frozen=True)
class CoefficientLaw:
    """Moments of the coefficients γ, and of σ, at each node.

    Attributes
    ----------
    mean : (c, n)
    covariance : (c, c, n)
        Of γ itself, σ integrated out.
    sigma2 : (n,)
        Mean of σ².
    """

    mean: Floats
    covariance: Floats
    sigma2: Floats

    def at(self, nodes: slice | Indices) -> CoefficientLaw:
        """The same at some nodes."""
        return CoefficientLaw(
            self.mean[..., nodes], self.covariance[..., nodes], self.sigma2[nodes]
        )


@dataclass(frozen=True)
class EffectMoments:
    """Moments of all effects of a level, for m mixtures over the nodes.

    Attributes
    ----------
    mean : (m, p, u)
    covariance : (m, p, p, u)
    """

    mean: Floats
    covariance: Floats


def conditionals(
    blocks: Blocks, factors: Sequence[Floats], groups: Indices | None = None
) -> Iterator[tuple[slice, int, slice, Conditional]]:
    """Yield nodes, level, members and their effects given the coefficients, part by part.

    Of all groups, or of some.  The root, whose effects are coefficients, is left out.
    """
    for nodes in batches(blocks, factors[-1].shape[-1]):
        some, here = [factor[..., nodes] for factor in factors], blocks.at(nodes)
        step = max(1, NUMBERS // (blocks.p * (blocks.n_coefficients + 1) * some[-1].shape[-1]))
        for level, members, given in downward(here, some, messages(here, some), step, groups):
            if level >= 0:
                yield nodes, level, members, given


def mixture_moments(
    blocks: Blocks,
    factors: Sequence[Floats],
    weights: Floats,
    law: CoefficientLaw,
    groups: Indices | None = None,
) -> tuple[EffectMoments, ...]:
    """Moments of the effects of every level, the outermost first, under weights (m, n) of sum 1.

    Of all groups, or of some.
    """
    heaviest = np.array([weights.sum(axis=0).argmax()])
    sizes = blocks.sizes if groups is None else (*blocks.sizes[:-1], len(groups))
    at = [f[..., heaviest] for f in factors]
    center = _moments_at(blocks.at(heaviest), at, law.at(heaviest), groups, sizes)
    m, p = len(weights), blocks.p
    first = [np.zeros((p, size, m)) for size in sizes]
    second = [np.zeros((p, p, size, m)) for size in sizes]
    for nodes, level, members, given in conditionals(blocks, factors, groups):
        mean, covariance = given.moments(*_parts(law.at(nodes)))
        mean -= center[level][:, members, None]
        covariance += mean[:, None] * mean
        own = weights[:, nodes].T
        first[level][:, members] += mean @ own
        second[level][:, :, members] += covariance @ own
    return tuple(
        EffectMoments(
            np.moveaxis(one + c[:, :, None], -1, 0),
            np.moveaxis(two - one[:, None] * one, -1, 0),
        )
        for c, one, two in zip(center, first, second, strict=True)
    )


def _moments_at(
    blocks: Blocks,
    factors: Sequence[Floats],
    law: CoefficientLaw,
    groups: Indices | None,
    sizes: Sequence[int],
) -> list[Floats]:
    """Means (p, u) of the effects of each level at a single node."""
    center = [np.zeros((blocks.p, size)) for size in sizes]
    for _, level, members, given in conditionals(blocks, factors, groups):
        center[level][:, members] = given.moments(*_parts(law))[0][:, :, 0]
    return center


def _parts(law: CoefficientLaw) -> tuple[Floats, Floats, Floats]:
    return law.mean, law.covariance, law.sigma2
