"""A marginal posterior on a coarse lattice, made when it is first asked for: what all have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from hiermodels.core.arrays import Floats
from hiermodels.data.covariates import AUTO, Place, locate
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.prior_move import hardly_differ, other_weights
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.product_lattice import ProductLattice
from hiermodels.posterior.moments import SD, ExistingMoments


@dataclass(frozen=True)
class CoarseGrid(ABC):
    """A marginal posterior on a coarse lattice, made when it is first asked for.

    It is what the exact engine draws from, and what tells how far another prior moves the
    posterior: made once for both.

    Attributes
    ----------
    spec : Spec
    data : GroupedData
    """

    spec: Spec
    data: GroupedData

    @property
    @abstractmethod
    def marginal(self) -> Any:
        """The marginal posterior."""

    @property
    def is_laid(self) -> bool:
        """Whether the exact engine takes the model: NUTS takes others."""
        try:
            return self.marginal is not None
        except SpecError:
            return False

    @property
    @abstractmethod
    def lattice(self) -> Lattice | ProductLattice:
        """Its lattice."""

    @property
    @abstractmethod
    def moments(self) -> ExistingMoments:
        """Which moments exist."""

    @property
    def proper_prior(self) -> str:
        """A proper prior of an sd, to be proposed."""
        return "HalfNormal(…)"

    @property
    def _place(self) -> Place | None:
        """Where effects are looked at: at the covariates' means, if there are any."""
        place = locate(self.data, AUTO)
        return place if place.words else None

    def _ratio(self, name: str, weights: Floats, log_sd: Floats) -> Floats | None:
        """Ratio of the other flat prior of an sd to its own at weighted nodes, up to a constant.

        None, where nothing moves notably.
        """
        both, ratio = other_weights(weights, log_sd)
        if hardly_differ(both, ratio) and self.moments.exist([name], SD):
            return None
        return ratio
