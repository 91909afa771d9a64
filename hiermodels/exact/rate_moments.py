"""When the rate of a new group has a mean: ``E e^(mθ)`` with ``θ ~ N(x'γ, τ²)``.

Given γ and τ it is ``exp(m x'γ + ½m²τ²)``, so the prior of τ has to fall as ``exp(−cτ²)``, and γ to
be kept from growing with τ².  A group's likelihood that falls as ``e^(rθ)`` below and ``e^(−sθ)``
above (Poisson: r = y, s = ∞) gives, at ``γ = τ²g`` with flat priors, the factor ``exp(−τ²h(x'g))``,
where h is ½t² with its slope cut off at −r and s.  The largest value of ``m x'g − Σ h_i(x_i'g)`` is

    V = min {½ Σ v_i² : Σ v_i x_i = m x, −r_i ≤ v_i ≤ s_i},

and the m-th moment exists if ``½m² + V < c``.  With the intercept alone, ``V = m²/(2k)``: under
``HalfNormal(s)``, where ``c = 1/(2s²)``, the mean needs ``s² < k/(k + 1)``.  A normal prior holds
its coefficient, whose column then drops out: the mean needs ``s < 1``.  Where τ is bounded it is
enough that some v exists.

With three levels (τ, κ) the same holds for all ``T, K ≥ 0``, one of them above 0, with

    ½m²(T + K) + min ½(T Σ v_i² + K Σ_s (Σ_{i in s} v_i)²)  <  T c_τ + K c_κ,

and for a new group in a known outer group s with ``Σ_{i in s} v_i − m`` in place of the sum, and
without ``½m²K``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.exact.leaf_design import LeafDesign
from hiermodels.model.priors.base import VariancePrior
from hiermodels.numerics.bounded_norm import is_solvable, least_square
from hiermodels.posterior.moments import SlowFall

type NamedPrior = tuple[str, VariancePrior]

SLACK = 1e-6  # relative, by which the prior has to fall faster than the rate's moment grows
LEAST_SHARE = 1e-6  # of τ² beside κ² where there is none: what it adds to the growth errs safely


@dataclass(frozen=True)
class RateMoments:
    """Moments of the exponential of linear predictors.

    Attributes
    ----------
    design : LeafDesign
    below, above : (k,)
        Exponents r and s with which each group's likelihood falls: 0 where it does not, ∞ where it
        falls faster than any exponential.
    """

    design: LeafDesign
    below: Floats
    above: Floats

    def of_groups(self, order: int) -> Flags:
        """Whether each group's own rate has a moment of this order; (k,).

        It has if the likelihood times ``e^(mθ)`` still falls above; of a group without data, if a
        new one's has.
        """
        exists = self.above > order
        for i in np.flatnonzero((self.below == 0) & (self.above == 0)):
            parent = None if self.design.parent is None else int(self.design.parent[i])
            exists[i] = self.of_new_group(self.design.x[i], order, parent) is None
        return exists

    def of_new_group(self, x: Floats, order: int, parent: int | None = None) -> SlowFall | None:
        """What stands in the way of a moment of a new group's rate; None if it exists.

        Parameters
        ----------
        x : (p,)
            Its row of the design.
        order : int
        parent : int, optional
            With three levels, its outer group, if that is known.
        """
        *outer, tau = self.design.priors.items()
        target = order * x[self.design.is_flat]
        if not is_solvable(self._flat_x, target, -self.below, self.above):
            return SlowFall("flat priors leave too much open", "proper ones of the coefficients")
        on_tau = self._slow(tau, self._growth(target, order, 1.0, 0.0, parent))
        if not outer or on_tau or math.isinf(outer[0][1].gaussian_tail):
            return on_tau
        (kappa,) = outer
        on_kappa = None
        if parent is None or not self._is_held(target, order, parent):
            on_kappa = self._slow(kappa, self._growth(target, order, 0.0, 1.0, parent))
        if on_kappa or math.isinf(tau[1].gaussian_tail):
            return on_kappa
        return self._slow_together(target, order, parent, tau, kappa)

    def _slow(self, named: NamedPrior, need: float) -> SlowFall | None:
        """Say that an sd's prior falls too slowly, if its c is not more than what is needed."""
        name, prior = named
        if prior.gaussian_tail > need * (1 + SLACK):
            return None
        widest = math.ceil(1000 * math.sqrt(0.5 / need) * (1 - SLACK) - 1) / 1000
        return SlowFall(
            f"{prior} on {name} falls too slowly", f"HalfNormal({widest:g}) or a narrower one"
        )

    def _slow_together(
        self, target: Floats, order: int, parent: int | None, tau: NamedPrior, kappa: NamedPrior
    ) -> SlowFall | None:
        """Say so of the priors of two sds that fall fast enough each, but not as both grow."""
        from scipy.optimize import minimize_scalar

        def room(share: float) -> float:
            """Left in the fall by the growth, where κ² has this share of τ² + κ²; convex."""
            fall = (1 - share) * tau[1].gaussian_tail + share * kappa[1].gaussian_tail
            return fall - self._growth(target, order, 1 - share, share, parent) * (1 + SLACK)

        if minimize_scalar(room, bounds=(0.0, 1 - LEAST_SHARE), method="bounded").fun > 0:
            return None
        given = " and ".join(f"{prior} on {name}" for name, prior in (kappa, tau))
        return SlowFall(f"{given} together fall too slowly", "narrower ones")

    def _is_held(self, target: Floats, order: int, parent: int) -> bool:
        """Whether a known outer group's own rows hold its effect, however large κ is."""
        from scipy import sparse

        matrix = sparse.hstack([self._flat_x, self._members], format="csr")
        sums = order * (np.arange(self.design.n_parents) == parent)
        return is_solvable(matrix, np.append(target, sums), -self.below, self.above)

    def _growth(
        self, target: Floats, order: int, inner: float, outer: float, parent: int | None
    ) -> float:
        """Left side of the condition at ``T, K``; with a little of T in its sum where T = 0.

        The inner sums, less m of a known outer group, are variables of their own, held to v by an
        equation each.
        """
        from scipy import sparse

        new = order**2 / 2 * (inner + (outer if parent is None else 0.0))
        root = math.sqrt(max(inner, LEAST_SHARE * outer))
        x, low, high = self._flat_x / root, -root * self.below, root * self.above
        if outer == 0:
            return new + least_square(x, target, low, high)
        size = self.design.n_parents
        sums = sparse.eye_array(size) / -math.sqrt(outer)
        rows = [[x, self._members / root], [None, sums]]
        free = np.full(size, math.inf)
        own = order * (np.arange(size) == parent)
        return new + least_square(
            sparse.block_array(rows, format="csr"),
            np.append(target, own),
            np.append(low, -free),
            np.append(high, free),
        )

    @property
    def _flat_x(self) -> Floats:
        return self.design.x[:, self.design.is_flat]

    @property
    def _members(self) -> Any:
        """Which outer group each group is in; (k, S), sparse."""
        from scipy import sparse

        k, size = len(self.below), self.design.n_parents
        return sparse.csr_array((np.ones(k), (np.arange(k), self.design.parent)), shape=(k, size))
