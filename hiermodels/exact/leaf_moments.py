"""Which moments of a posterior of counts exist.

What grows with the sds has a moment of order m if ``tail + m/2 < 0`` on every ray on which it
grows (``leaf_propriety``).  Along τ all coefficients with flat priors grow, and the linear
predictors of groups that are not informative; an informative group's stays where its count is.
Along κ alone grow what has a flat prior and the effects of outer groups whose pooled counts are
one-sided.  A probability has every moment, being bounded, and so has a Poisson rate of a group that
was observed: ``e^(mθ)`` times the likelihood of y is that of y + m.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Flags
from hiermodels.exact.leaf_propriety import LeafTails
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import ExistingMoments, Shortage


@dataclass(frozen=True)
class Ray:
    """Sds that grow together, and what grows with them.

    Attributes
    ----------
    lowest : str
        The sd of the lowest level among them.
    along : str
        The sd as which a variable grows.
    members : array of bool
        Which elements of the variable do, or one for all.
    """

    lowest: str
    along: str
    members: Flags


@dataclass(frozen=True)
class LeafMoments(ExistingMoments):
    """The moments of a model of counts, from the tails of its sds.

    Attributes
    ----------
    spec : Spec
    tails : LeafTails
    """

    spec: Spec
    tails: LeafTails

    def shortage(self, name: str, order: int) -> Shortage | None:
        """What a variable's moment of this order lacks, in any of its elements."""
        lacks = [
            Shortage(self.tails.tails.sizes[ray.lowest], self._what(ray.lowest), needed)
            for ray, needed in self._short_rays(name, order)
        ]
        return max(lacks, key=lambda lack: lack.gap, default=None)

    def lacking(self, name: str, order: int, *, own: bool = False) -> Flags:
        """Which elements of a variable have no moment of this order.

        Parameters
        ----------
        name : str
        order : int
        own : bool
            Of groups' effects, whether these are at the groups' own covariates, where they are
            linear predictors; if not, without covariates, as the posterior keeps them.

        Returns
        -------
        array of bool
            Of the variable's shape.
        """
        size = {
            "beta": (len(self.spec.coefficients),),
            self.spec.effects[0]: self.tails.design.falls_below.shape,
            self.spec.effects[-1]: (self.tails.design.n_parents or len(self.tails.design.x),),
        }
        lacks = np.zeros(size.get(name, ()), dtype=bool)
        for ray, _ in self._short_rays(name, order, own=own):
            lacks = lacks | ray.members
        return lacks

    def _short_rays(self, name: str, order: int, *, own: bool = False) -> Iterator[tuple[Ray, int]]:
        """Rays on which a variable grows too fast, and informative groups that it takes."""
        for ray in self._rays(name, own):
            needed = self.tails.tails.needed(ray.lowest, ray.along, order)
            if needed is not None and ray.members.any():
                yield ray, needed

    def _rays(self, name: str, own: bool) -> Iterator[Ray]:
        """Rays of the sds on which some elements of a variable grow."""
        tau, kappa = self.spec.spreads[0], self.spec.spreads[-1]
        every, outer = np.array(True), self.tails.outer
        if name in self.spec.spreads:
            yield Ray(name, name, every)
            if name != tau:
                yield Ray(tau, name, every)
            return
        along_tau = self._grows_with_tau(name, own)
        yield Ray(tau, tau, along_tau)
        if outer is None:
            return
        yield Ray(kappa, kappa, self._grows_with_kappa(name, own))
        if name == self.spec.effects[-1]:
            yield Ray(tau, kappa, every)

    def _grows_with_tau(self, name: str, own: bool) -> Flags:
        """Which elements of a variable grow as the innermost sd does."""
        design = self.tails.design
        if name == "beta":
            return design.is_flat[int(design.has_intercept) :]
        if name == self.spec.effects[0]:
            at_zero = (design.flat_slopes != 0).any(axis=1) & (not own)
            return ~design.is_informative | at_zero
        grows = name in (*self.spec.top, *self.spec.effects) and design.intercept_is_flat
        return np.array(grows)

    def _grows_with_kappa(self, name: str, own: bool) -> Flags:
        """Which elements of a variable grow as the outermost of two sds does alone."""
        design, outer = self.tails.design, self.tails.outer
        assert outer is not None
        assert design.parent is not None
        if name == "beta":
            return design.is_flat[int(design.has_intercept) :] & outer.moves_slopes
        if name == self.spec.effects[0]:
            return outer.moves_predictor if own else outer.moves_outer[design.parent]
        if name == self.spec.effects[-1]:
            return outer.moves_outer
        return np.array(name in self.spec.top and design.intercept_is_flat)

    def _what(self, sd: str) -> str:
        names = dict(zip(self.tails.design.priors, self.tails.design.wording.groups, strict=True))
        return f"informative {names[sd]}"
