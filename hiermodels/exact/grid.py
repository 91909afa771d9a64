"""A marginal posterior on a coarse lattice, made when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.marginal import SPACING, Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice


@dataclass(frozen=True)
class Grid:
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

    @cached_property
    @one_blas_thread()
    def marginal(self) -> Marginal:
        """The marginal posterior of the variances, if the posterior exists."""
        return Marginal.of(self.spec, standardize(self.data))

    @cached_property
    @one_blas_thread()
    def lattice(self) -> Lattice:
        """Its lattice: means over it are right to about 0.001 sd."""
        return self.marginal.lattice(SPACING[len(self.marginal.free)])
