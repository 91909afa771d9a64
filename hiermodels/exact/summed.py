"""What posteriors have in common whose moments are sums over the points of a lattice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sized
from functools import cached_property
from typing import Any, Protocol

from hiermodels.core.blas import one_blas_thread
from hiermodels.posterior.reference_posterior import ReferencePosterior


class Sums(Protocol):
    """A lattice, on arrays, and how well it holds a posterior."""

    @property
    def lattice(self) -> Sized:
        """The points."""

    @property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds."""

    @property
    def log_integral(self) -> float:
        """Log marginal likelihood, if all priors are proper."""


class SummedPosterior(ReferencePosterior):
    """The mean and the sd of a variable come out together."""

    @property
    @abstractmethod
    def _sums(self) -> Sums:
        """What is summed."""

    @property
    def n_points(self) -> int:
        """Number of points at which the posterior is summed up."""
        return len(self._sums.lattice)

    @property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds."""
        return self._sums.certificate

    def _log_evidence(self) -> float:
        return self._sums.log_integral

    def _means(self) -> Mapping[str, Any]:
        return {name: mean for name, (mean, _) in self._both_moments.items()}

    def _sds(self) -> Mapping[str, Any]:
        return {name: sd for name, (_, sd) in self._both_moments.items()}

    @cached_property
    @one_blas_thread()
    def _both_moments(self) -> dict[str, tuple[Any, Any]]:
        return {name: self._moments_of(name) for name in self.spec.variables}

    @abstractmethod
    def _moments_of(self, name: str) -> tuple[Any, Any]:
        """Mean and sd of a variable; nan or anything where it does not exist."""
