"""A marginal posterior on a coarse lattice, made when it is first asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import Layout, block_model, blocks_of
from hiermodels.exact.block_moments import BlockMoments
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.blocks.draws import laid_for_draws
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.blocks.sd_posterior import SdPosterior
from hiermodels.exact.coarse_grid import CoarseGrid
from hiermodels.exact.crossed.draws import laid_for_draws as laid_for_crossed_draws
from hiermodels.exact.crossed.interpolated import interpolated
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.posterior import CrossedPosterior
from hiermodels.exact.crossed_data import CrossedMoments, crossed_model
from hiermodels.exact.crossed_reference import CrossedReference
from hiermodels.exact.glmm_data import takes_rows
from hiermodels.exact.glmm_grid import GlmmGrid
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.leaf_data import leaf_model, leaf_moments
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.leaf_prior_moves import leaf_prior_moves
from hiermodels.exact.leaves.draws import SPACING as LEAF_SPACING
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.structures import marginal_of, on_lattice
from hiermodels.exact.marginal import SPACING, Marginal
from hiermodels.exact.moments import HierarchyMoments
from hiermodels.exact.prior_move import Move
from hiermodels.exact.prior_moves import prior_moves
from hiermodels.exact.propriety import members_of
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.exact.sd_reference import SdReference
from hiermodels.exact.standardize import standardize
from hiermodels.model.priors.variance import FlatSD
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.product_lattice import ProductLattice
from hiermodels.posterior.moments import ExistingMoments


@dataclass(frozen=True)
class Grid(CoarseGrid):
    """That of normal rows with intercepts of one or two columns of groups."""

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

    @property
    def moments(self) -> HierarchyMoments:
        """Which moments exist."""
        return HierarchyMoments(self.spec, self.marginal.tails)

    def informed(self, name: str) -> str:
        """The groups that say what there is to say of an sd, in words."""
        return f"{self.marginal.tails.sizes[name]:,} {members_of(self.spec, name)}"

    def prior_moves(self, name: str) -> Iterator[Move]:
        """Yield what moves notably under the other flat prior of an sd."""
        column = self.marginal.names.index(name)
        log_sd = self.marginal.log_sds(self.lattice.points)[:, column]
        ratio = self._ratio(name, self.lattice.weights, log_sd)
        if ratio is None:
            return iter(())
        other = replace(self.lattice, log_density=self.lattice.log_density + np.log(ratio))
        given = self.spec, self.data, self.marginal
        both = [IntegratedPosterior(*given, laid, self._place) for laid in (self.lattice, other)]
        return prior_moves(both[0], both[1], name)


@dataclass(frozen=True)
class LeafGrid(CoarseGrid):
    """The same of counts and other rows that are not normal."""

    @cached_property
    def _model(self) -> LeafModel | NestedModel:
        return leaf_model(self.spec, self.data)

    @cached_property
    def moments(self) -> LeafMoments:
        """Which moments exist, if the posterior does."""
        return leaf_moments(self.spec, self.data, self._model)

    def require_existence(self) -> None:
        """Raise ImproperPosteriorError if the posterior does not exist."""
        self.moments.counts(())

    @property
    def proper_prior(self) -> str:
        """A proper prior of an sd, to be proposed: of a sensible width on the scale of the link."""
        return self.moments.tails.design.wording.sd_prior

    @cached_property
    def marginal(self) -> LeafMarginal | NestedMarginal:
        """The posterior of the sds and the coefficients."""
        return marginal_of(self._model)

    @cached_property
    @one_blas_thread()
    def lattice(self) -> Lattice:
        """Its lattice: wide, as draws are exact on any."""
        return self.marginal.lattice(LEAF_SPACING[self.marginal.coordinates.dimension])

    def informed(self, name: str) -> str:
        """The groups that say what there is to say of an sd, in words."""
        design = self.moments.tails.design
        is_outer = design.parent is not None and name == next(iter(design.priors))
        groups = design.wording.groups[0 if is_outer else -1]
        size = design.n_parents if is_outer else len(design.x)
        some = self.moments.tails.tails.sizes[name]
        if some == size:
            return f"{size:,} {groups}"
        return f"{some:,} informative of {size:,} {groups}"

    def prior_moves(self, name: str) -> Iterator[Move]:
        """Yield what moves notably under the other flat prior of an sd."""
        posterior = on_lattice(self.marginal, self.lattice)
        return leaf_prior_moves(self.spec, self.data, posterior, self.moments, name)


class _SdGrid[P: SdPosterior[Any]](CoarseGrid):
    """The same with σ integrated, where that can be."""

    @property
    @abstractmethod
    def _posterior(self) -> P:
        """On the lattice: for the priors of all sds."""

    @abstractmethod
    def _under(self, spec: Spec) -> _SdGrid[P]:
        """The lattice of a model with other priors."""

    @abstractmethod
    def _shown(self, posterior: P) -> SdReference:
        """A posterior by the names of the specification."""

    def informed(self, name: str) -> str:
        """The groups that say what there is to say of an sd, in words."""
        level = next(own for own in self.spec.levels if name in (own.sd, *own.sds))
        return f"{len(self.data.coords[level.column]):,} {level.column!r} groups"

    def prior_moves(self, name: str) -> Iterator[Move]:
        """Yield what moves notably under the other flat prior of an sd."""
        posterior = self._posterior
        place = posterior.model.names.index(name)
        log_sd = posterior.values.log_theta[place] + np.log(posterior.scale.sigma)
        if self._ratio(name, posterior.lattice.weights, log_sd) is None:
            return iter(())
        other = self._under(replace(self.spec, priors={**self.spec.priors, name: FlatSD()}))
        return prior_moves(self._shown(posterior), self._shown(other._posterior), name)


@dataclass(frozen=True)
class BlockGrid(_SdGrid[BlockPosterior]):
    """The same with σ integrated, of groups with several effects, and of many columns of groups.

    Attributes
    ----------
    model : BlockModel
        On arrays.
    """

    model: BlockModel

    @cached_property
    @one_blas_thread()
    def marginal(self) -> BlockMarginal:
        """The posterior of the sds and correlations, if it exists."""
        if not self.spec.is_blocks:
            self.moments.counts(())  # which exist if the posterior does
        return BlockMarginal.of(self.model)

    @cached_property
    @one_blas_thread()
    def of_all_sds(self) -> Marginal:
        """The same of intercepts by their own recursion, σ being one of the sds.

        It knows which moments exist, and draws all else given the sds.
        """
        return Marginal.of(self.spec, standardize(self.data))

    @property
    def lattice(self) -> Lattice | ProductLattice:
        """Its lattice: wide, as draws are exact on any."""
        return self._laid[0]

    @cached_property
    @one_blas_thread()
    def _laid(self) -> tuple[Lattice, Root] | tuple[ProductLattice, None]:
        """With what all rows say at its nodes."""
        return laid_for_draws(self.marginal)

    @cached_property
    def moments(self) -> ExistingMoments:
        """Which moments exist."""
        if self.spec.is_blocks:
            return BlockMoments(self.spec, Layout(self.spec), self.marginal.tails)
        return HierarchyMoments(self.spec, self.of_all_sds.tails)

    def prior_moves(self, name: str) -> Iterator[Move]:
        """Yield what moves notably under the other flat prior of an sd.

        Nothing with slopes: their sds have the prior that is flat on the sd by default.  The other
        one, flat on its square, needs more groups, and is no better.
        """
        if self.spec.has_slopes or not isinstance(self.lattice, Lattice):
            return iter(())
        return super().prior_moves(name)

    def _under(self, spec: Spec) -> BlockGrid:
        return BlockGrid(spec, self.data, block_model(spec, self.data))

    def _shown(self, posterior: BlockPosterior) -> BlockReference:
        existing = None if self.spec.is_blocks else self.moments
        return BlockReference(self.spec, self.data, posterior, self._place, existing=existing)

    @cached_property
    def _posterior(self) -> BlockPosterior:
        """On the lattice: for the priors of all sds."""
        laid, root = self._laid
        assert isinstance(laid, Lattice)
        assert root is not None
        return BlockPosterior(self.marginal, laid, root)


@dataclass(frozen=True)
class CrossedGrid(_SdGrid[CrossedPosterior]):
    """The same of crossed groups."""

    @cached_property
    @one_blas_thread()
    def marginal(self) -> CrossedMarginal:
        """The posterior of the sds, if it exists."""
        return interpolated(self._plain)

    @cached_property
    @one_blas_thread()
    def _plain(self) -> CrossedMarginal:
        return CrossedMarginal.of(crossed_model(self.spec, self.data))

    @property
    def lattice(self) -> Lattice:
        """Its lattice: wide, as draws are exact on any."""
        return self.laid[0]

    @cached_property
    @one_blas_thread()
    def laid(self) -> tuple[Lattice, Root]:
        """With what all rows say at its nodes."""
        return laid_for_crossed_draws(self.marginal)

    @cached_property
    def _posterior(self) -> CrossedPosterior:
        return CrossedPosterior(self.marginal, *self.laid)

    @cached_property
    def moments(self) -> CrossedMoments:
        """Which moments exist."""
        return CrossedMoments(self.spec, self._plain.tails)

    def _under(self, spec: Spec) -> CrossedGrid:
        return CrossedGrid(spec, self.data)

    def _shown(self, posterior: CrossedPosterior) -> CrossedReference:
        return CrossedReference(self.spec, self.data, posterior, self._place)


type AnyGrid = Grid | LeafGrid | GlmmGrid | BlockGrid | CrossedGrid


def grid_of(spec: Spec, data: GroupedData) -> AnyGrid:
    """The coarse lattice of a model, nothing of which is made yet."""
    if spec.is_crossed:
        return CrossedGrid(spec, data)
    if not spec.is_normal:
        return (GlmmGrid if takes_rows(spec, data) else LeafGrid)(spec, data)
    model = blocks_of(spec, data)
    return Grid(spec, data) if model is None else BlockGrid(spec, data, model)
