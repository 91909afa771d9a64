"""Posteriors over a lattice of sds, at each point of which all effects are normal.

So each effect and coefficient, and each prediction, has a mixture of normals for its posterior
(:mod:`hiermodels.exact.blocks.sd_mixtures`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.messages import plural
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.blocks.hyper_laws import HyperLaws
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.sd_mixtures import SdMixtures
from hiermodels.exact.blocks.sd_posterior import SdPosterior
from hiermodels.exact.compressed import few_points
from hiermodels.exact.summed import SummedPosterior
from hiermodels.model.spec import Spec
from hiermodels.numerics import normal_mixture
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.normal_mixture import Components
from hiermodels.posterior.coordinates import coords_of
from hiermodels.posterior.precision import reached
from hiermodels.posterior.target import Target

MAX_MEMBERS = 256  # whose components are held at a time


@dataclass(frozen=True, repr=False)
class SdReference(SummedPosterior):
    """A lattice over sds and correlations, all effects and coefficients integrated out.

    Attributes
    ----------
    spec, data, place
        As in :class:`ReferencePosterior`.
    posterior : SdPosterior
        On arrays.
    laws : HyperLaws, optional
        Of the sds and correlations, which are the same wherever effects are shown.
    """

    spec: Spec
    data: GroupedData
    posterior: SdPosterior[Any]
    place: Place | None = None
    laws: HyperLaws | None = None

    @property
    @abstractmethod
    def _mixtures(self) -> SdMixtures[Any]:
        """Laws of sums of effects and coefficients."""

    @property
    @abstractmethod
    def _places(self) -> Mapping[str, Any]:
        """Places of sds and correlations among those of the arrays, by variable."""

    @property
    @abstractmethod
    def _beta(self) -> Indices | slice:
        """Which of the coefficients are β."""

    @property
    @abstractmethod
    def _root_row(self) -> Floats:
        """What the intercept that is shown is of the coefficients; (c,)."""

    @abstractmethod
    def _effects_of(self, level: int) -> Indices:
        """Which effects vary at a level."""

    @abstractmethod
    def _effect_moments(self, level: int) -> tuple[Floats, Floats]:
        """Means and sds of a level's effects, as they are shown; (u,) each, or (u, p)."""

    @abstractmethod
    def _shown(self, level: int, effect: int, members: Indices) -> Components:
        """Components of one of the effects of some members, as it is shown."""

    @abstractmethod
    def _predictive(self, target: Target) -> Iterator[tuple[slice, Components]]:
        """Yield components of predicted values, some at a time."""

    @property
    def _sums(self) -> SdPosterior[Any]:
        return self.posterior

    @property
    def lattice(self) -> Lattice | PairNodes:
        """The lattice over sds and correlations."""
        return self.posterior.lattice

    def _relaid(self, spacing: float | Floats) -> Lattice:
        """Another lattice over the same posterior."""
        return self.posterior.marginal.lattice(spacing)

    def lattice_error(self) -> float:
        """How well the lattice holds the posterior, in posterior sds."""
        return float(self.posterior.errors_by_axis.max(initial=0.0))

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        d = self.posterior.marginal.coordinates.dimension
        if not d:
            return ["closed form: all sds are fixed"]
        integrated = "; sigma integrated at each" if self.posterior.model.relative else ""
        return [
            f"quadrature: {self._counted(d)}{integrated}",
            f"precision: {reached(self.certificate)} digits; {self._cause} {self.certificate:.1e} "
            f"posterior sd",
            *few_points(self.posterior.few, self._of_few),
        ]

    def _counted(self, dimension: int) -> str:
        """The points at which the posterior is summed up, for people to read."""
        return f"{self.n_points} points in {dimension} dimension{plural(dimension)}"

    @property
    def _cause(self) -> str:
        """What the quadrature error is: the larger of two errors."""
        is_rounding = self.posterior.rounding > self.posterior.differences
        return "rounding errors are about" if is_rounding else "two spacings differ by"

    @property
    def _of_few(self) -> str:
        """Of what few points are used in place of all."""
        return "effects"

    def _at(self, place: Place) -> Self:
        return replace(self, place=place, laws=self._laws)

    @cached_property
    def _laws(self) -> HyperLaws:
        return self.laws or HyperLaws(self.posterior)

    def _moments_of(self, name: str) -> tuple[Any, Any]:
        """Mean and sd of a variable; nan where it does not exist."""
        if name in self._places:
            own = self._places[name]
            mean, sd = self._sd_moments if self._is_sd(name) else self._correlation_moments
            return mean[own], sd[own]
        if name == "beta":
            mean, sd = self.posterior.coefficient_moments()
            return mean[self._beta], sd[self._beta]
        if name in self.spec.top:
            return self._intercept_moments
        return self._effect_moments(self.spec.level_of(name))

    @cached_property
    def _sd_moments(self) -> tuple[Floats, Floats]:
        return self.posterior.sd_moments()

    @cached_property
    def _correlation_moments(self) -> tuple[Floats, Floats]:
        return self.posterior.correlation_moments()

    @property
    def _intercept_moments(self) -> tuple[float, float]:
        """Of the intercept, at the covariates where it is shown."""
        row, mean = self._root_row, self.posterior.coefficient_moments()[0]
        variance = row @ self.posterior.coefficient_covariance() @ row
        return float(row[row != 0] @ mean[row != 0]), float(np.sqrt(variance))

    def _is_sd(self, name: str) -> bool:
        return name not in {level.correlation for level in self.spec.levels}

    @one_blas_thread()
    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        if name in self._places:
            laws, own = self._laws, self._places[name]
            of = laws.sd_quantiles if self._is_sd(name) else laws.correlation_quantiles
            if np.ndim(own):
                return np.stack([of(int(i), probabilities) for i in own], axis=-1)
            return of(int(own), probabilities)
        parts = [normal_mixture.quantiles(own, probabilities) for own in self._components(name)]
        return self._shaped(name, np.concatenate(parts, axis=1))

    @one_blas_thread()
    def member_quantiles(self, name: str, probabilities: Floats, members: Indices) -> Floats:
        """Quantiles of the effects of some members of a level; (p, u) or (p, u, e)."""
        level = self.spec.level_of(name)
        effects = self._effects_of(level)
        quantiles = np.empty((len(probabilities), len(members), len(effects)))
        for j, effect in enumerate(effects):
            for part in parts_of(len(members)):
                components = self._shown(level, int(effect), members[part])
                quantiles[:, part, j] = normal_mixture.quantiles(components, probabilities)
        return quantiles if self.spec.levels[level].has_slopes else quantiles[..., 0]

    def _cdf(self, name: str, values: Floats) -> Floats:
        return self._at_values("cdf", name, values)

    def _density(self, name: str, values: Floats) -> Floats:
        return self._at_values("density", name, values)

    @one_blas_thread()
    def _at_values(self, what: str, name: str, values: Floats) -> Floats:
        """Distribution functions or densities at values (..., *members)."""
        shape = np.broadcast_shapes(values.shape, self._shape(name))
        flat = np.broadcast_to(values, shape).reshape(-1, max(1, int(np.prod(self._shape(name)))))
        if name in self._places:
            kind = "sd" if self._is_sd(name) else "correlation"
            of, own = getattr(self._laws, f"{kind}_{what}"), np.atleast_1d(self._places[name])
            if len(own) > 1 and (kind, what) == ("sd", "density"):
                of = self._laws.sd_density_if_any
            every = [of(int(i), column) for i, column in zip(own, flat.T, strict=True)]
            return np.array(every).T.reshape(shape)
        of, result, first = getattr(normal_mixture, what), np.empty(flat.shape), 0
        columns = self._unshaped(name, flat)
        for components in self._components(name):
            part = slice(first, first + components[1].shape[1])
            result[:, part] = of(*components, columns[:, part])
            first = part.stop
        return self._shaped(name, result).reshape(shape)

    def _components(self, name: str) -> Iterator[Components]:
        """Yield components of all members of a variable, some at a time, effect by effect."""
        if name == "beta":
            weights, mean, sd = self._mixtures.coefficients()
            yield weights, mean[:, self._beta], sd[:, self._beta]
        elif name in self.spec.top:
            yield self._mixtures.of_root(self._root_row[None])
        else:
            level = self.spec.level_of(name)
            members = np.arange(len(self.data.levels[level]))
            for effect in self._effects_of(level):
                for part in parts_of(len(members)):
                    yield self._shown(level, int(effect), members[part])

    def _shape(self, name: str) -> tuple[int, ...]:
        """Numbers of members of a variable along its dimensions."""
        coords = coords_of(self.spec, self.data)
        return tuple(len(coords[dim]) for dim in self.spec.dims(name))

    def _shaped(self, name: str, columns: Floats) -> Floats:
        """From (k, members) effect by effect to (k, *members)."""
        shape = self._shape(name)
        if len(shape) < 2:
            return columns.reshape(len(columns), *shape)
        return columns.reshape(len(columns), *shape[::-1]).swapaxes(1, 2)

    def _unshaped(self, name: str, columns: Floats) -> Floats:
        """From (k, members) group by group to effect by effect."""
        shape = self._shape(name)
        if len(shape) < 2:
            return columns
        return columns.reshape(len(columns), *shape).swapaxes(1, 2).reshape(len(columns), -1)

    @one_blas_thread()
    def predictive_moments(self, target: Target) -> tuple[Floats, Floats]:
        """Means and sds of predicted values, whether they exist or not; both (r,)."""
        parts = [normal_mixture.moments(*own) for _, own in self._predictive(target)]
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
            quantiles[:, part] = normal_mixture.quantiles(components, probabilities)
        return quantiles


def parts_of(size: int) -> Iterator[slice]:
    """Yield parts of so many members that their components can be held at a time."""
    for first in range(0, size, MAX_MEMBERS):
        yield slice(first, min(first + MAX_MEMBERS, size))
