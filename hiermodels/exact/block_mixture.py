"""The posterior of blocks as mixtures of normals: effects as they are shown, and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import Layout, place_of_residual_sds
from hiermodels.exact.blocks.mixtures import Mixtures
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.model.level import INTERCEPT
from hiermodels.model.spec import Spec
from hiermodels.numerics import normal_mixture
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.target import Target

MAX_MEMBERS = 256  # whose components are held at a time

type Components = tuple[Floats, Floats, Floats]
"""Weights (n,), means and sds (n, r) of mixtures of normals."""


@dataclass(frozen=True, repr=False)
class BlockMixture(ReferencePosterior):
    """Over the nodes of a lattice, at each of which all effects and coefficients are normal.

    Attributes
    ----------
    spec, data, place
        As in :class:`ReferencePosterior`.
    posterior : BlockPosterior
        On arrays.
    """

    spec: Spec
    data: GroupedData
    posterior: BlockPosterior
    place: Place | None = None

    @cached_property
    def layout(self) -> Layout:
        """Where the parameters stand among those of the arrays."""
        return Layout(self.spec)

    @property
    def _root_row(self) -> Floats:
        """What the intercept that is shown is of the coefficients; (c,)."""
        row = np.zeros(len(self.layout.coefficients))
        row[self.layout.intercept] = 1.0
        if self.place is not None:
            row[self.layout.beta] = self.place.of(ROOT)
        return row

    def _is_moved(self, level: int) -> bool:
        """Whether a level's intercepts are shown elsewhere than at x = 0."""
        has_intercept = INTERCEPT in self.spec.levels[level].terms
        return self.place is not None and has_intercept and bool(self.place.of(level).any())

    def _shown(self, level: int, effect: int, members: Indices) -> Components:
        """Components of one of the p effects of some members, as it is shown."""
        size = len(members)
        z, x = np.zeros((size, len(self.layout.terms))), np.zeros((size, len(self.layout.others)))
        z[:, effect] = 1.0
        if self.place is not None and self.layout.terms[effect] == INTERCEPT:
            at = np.atleast_2d(self.place.of(level))
            at = np.broadcast_to(at if len(at) == 1 else at[members], (size, at.shape[1]))
            z, x = self.layout.split(at)
        return self._mixtures.combinations(level, members, z, x)

    @cached_property
    def _mixtures(self) -> Mixtures:
        return Mixtures(self.posterior)

    @cached_property
    def _places(self) -> dict[str, Any]:
        """Places of sds and correlations among those of the arrays, by variable."""
        places: dict[str, Any] = {}
        for number, level in enumerate(self.spec.levels):
            own = self.layout.sds(number)
            places[level.sd] = own if level.has_slopes else own[0]
            if level.correlation:
                pairs = self.layout.correlations(number)
                places[level.correlation] = pairs if len(pairs) > 1 else pairs[0]
        if self.spec.has_sigma:
            own = place_of_residual_sds(self.spec, self.data)
            places["sigma"] = own if self.spec.strata else own[0]
        return places

    @one_blas_thread()
    def predictive_moments(self, target: Target) -> tuple[Floats, Floats]:
        """Means and sds of predicted values, whether they exist or not; both (r,)."""
        parts = [moments_of_mixture(*components) for _, components in self._predictive(target)]
        mean, sd = np.concatenate([np.stack(part) for part in parts], axis=1)
        return mean, sd

    @one_blas_thread()
    def predictive_cdf(self, target: Target, values: Floats) -> Floats:
        """Distribution functions of predicted values at values (..., r)."""
        below = np.empty(values.shape)
        for part, components in self._predictive(target):
            below[..., part] = normal_mixture.cdf(*components, values[..., part])
        return below

    @one_blas_thread()
    def predictive_quantiles(self, target: Target, probabilities: Floats) -> Floats:
        """Quantiles of predicted values; shape (p, r)."""
        quantiles = np.empty((len(probabilities), len(target.members)))
        for part, components in self._predictive(target):
            for row, p in zip(quantiles, probabilities, strict=True):
                row[part] = normal_mixture.quantile(*components, p)
        return quantiles

    def _predictive(self, target: Target) -> list[tuple[slice, Components]]:
        """Components of predicted values, some at a time."""
        z, x = self.layout.split(target.x)
        innermost = len(self.spec.levels) - 1
        parts = []
        for first in range(0, len(z), MAX_MEMBERS):
            part = slice(first, first + MAX_MEMBERS)
            asked = target.level, target.members[part], z[part], x[part]
            known = target.level == innermost
            of = self._mixtures.combinations if known else self._mixtures.of_new_members
            weights, mean, sd = of(*asked)
            if target.outcome:
                nodes = self._mixtures.nodes_of(target.level) if known else self._mixtures.nodes
                sigma2 = nodes.law.sigma2[:, None]
                if STRATA in target.columns:
                    code = target.columns[STRATA][part].astype(np.intp)
                    sigma2 = self._mixtures.residual_variances(nodes, self._places["sigma"][code])
                if WEIGHTS in target.columns:
                    sigma2 = sigma2 / target.columns[WEIGHTS][part]
                sd = np.sqrt(sd**2 + (sigma2 if target.se is None else target.se[part] ** 2))
            parts.append((part, (weights, mean, sd)))
        return parts


def moments_of_mixture(weights: Floats, mean: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """Means and sds (r,) of mixtures of normals."""
    centre = weights @ mean
    return centre, np.sqrt(weights @ (sd**2 + (mean - centre) ** 2))
