"""About where the posterior of crossed groups lies: how much the data say of each effect.

Given all sds and all other effects, the data have the weight ``τ²/(τ² + σ²/ω_u)`` in the mean of
an effect whose rows have the weights ω_u in all.  How likely the sds are, a lattice over their
posterior says.  Where that is not to be had in a moment, as with very many groups, it is replaced
by its likeliest place.  Effects of each column, given all others, are normal; replacing these by
their means, and all sds by those that make the rows most likely so, are steps that are repeated
(mean-field EM)::

    e_u = Σ_i ω_i r_i / (Σ_i ω_i + σ²/τ²)       v_u = σ² / (Σ_i ω_i + σ²/τ²)
    τ² = mean (e_u² + v_u)                      σ² = (Σ_i ω_i r_i² + Σ_u ω_u v_u) / N

with r_i what is left of a row without the other columns' effects, and in σ² without any.  All this
serves the choice of a parameterization alone.

References
----------
Bishop (2006), Pattern recognition and machine learning, section 10.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.cells import rows_of_cells
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import PrecisionError
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.model import MAX_OTHERS
from hiermodels.exact.crossed_data import crossed_model
from hiermodels.model.spec import Spec

STEPS = 30
SMALLEST = 1e-6  # of an sd, in units of the outcome's
MAX_COLUMNS = 3  # of which a lattice takes a second at the most
SPACING = {0: 1.0, 1: 0.2, 2: 0.4, 3: 0.8}  # of it, by the number of dimensions


@dataclass(frozen=True)
class LikelySds:
    """Sds of crossed groups that are likely.

    Attributes
    ----------
    theta2 : (K, n)
        ``τ²/σ²`` of each column.
    probability : (n,)
        Of sum 1.
    totals : tuple of (u,)
        Of each column, the weights ω_u of all rows of its groups.
    """

    theta2: Floats
    probability: Floats
    totals: tuple[Floats, ...]

    @classmethod
    def of(cls, spec: Spec, data: GroupedData) -> LikelySds:
        """On a wide lattice, or at one place.

        Raises
        ------
        ImproperPosteriorError
            If the posterior does not exist.
        """
        sizes = sorted(len(level) for level in data.levels)
        if len(sizes) <= MAX_COLUMNS and sum(sizes[:-1]) <= MAX_OTHERS:
            found = cls._on_lattice(spec, data)
            if found is not None:
                return found
        tau2, sigma2, totals = mean_field(spec, data)
        return cls(tau2[:, None] / sigma2, np.ones(1), totals)

    @classmethod
    @one_blas_thread()
    def _on_lattice(cls, spec: Spec, data: GroupedData) -> LikelySds | None:
        """On a lattice, if that is to be had in a moment."""
        marginal = CrossedMarginal.of(crossed_model(spec, data))
        if marginal.is_dear:
            return None
        dimension = marginal.coordinates.dimension
        if dimension not in SPACING:
            return None
        try:
            laid = marginal.lattice(SPACING[dimension])
        except PrecisionError:
            return None
        log_theta = marginal.coordinates.values(laid.points).log_theta
        return cls(np.exp(2 * log_theta), laid.weights, _totals(data))

    def chances(self) -> Floats:
        """Probability that in a column's median effect the data outweigh the prior; (K,)."""
        medians = np.array([np.median(total) for total in self.totals])
        return np.asarray((self.theta2 * medians[:, None] >= 1) @ self.probability)


def _totals(data: GroupedData) -> tuple[Floats, ...]:
    rows = rows_of_cells(data)
    pairs = zip(rows.memberships, data.levels, strict=True)
    return tuple(np.bincount(member, rows.precision, len(level)) for member, level in pairs)


def mean_field(spec: Spec, data: GroupedData) -> tuple[Floats, float, tuple[Floats, ...]]:
    """About the likeliest τ² (K,) and σ², 1 where errors are known; and the ω_u of each column.

    In the outcome's unit.
    """
    rows = rows_of_cells(data)
    unit = float(np.std(rows.y)) or 1.0
    weight, known = rows.precision, rows.se is not None
    fixed = {name: max((sd / unit) ** 2, SMALLEST**2) for name, sd in spec.fixed.items()}
    least = SMALLEST**2
    sigma2 = unit**-2.0 if known else fixed.get("sigma", 1.0)
    tau2 = np.array([fixed.get(level.sd, 1.0) for level in spec.levels])
    ones = [np.ones((len(rows.y), 1))] if spec.intercept else []
    x = np.hstack([*ones, rows.design.matrix])
    totals = _totals(data)
    rest = rows.y / unit
    effects = [np.zeros(len(total)) for total in totals]
    fitted = np.zeros_like(rest)
    root = np.sqrt(weight)
    for _ in range(STEPS):
        rest = rest + fitted
        if x.shape[1]:
            fitted = x @ np.linalg.lstsq(root[:, None] * x, root * rest)[0]
        rest = rest - fitted
        spread = 0.0
        for number, (level, member) in enumerate(zip(spec.levels, rows.memberships, strict=True)):
            rest = rest + effects[number][member]
            precision = totals[number] + sigma2 / tau2[number]
            effects[number] = np.bincount(member, weight * rest, len(totals[number])) / precision
            rest = rest - effects[number][member]
            variance = sigma2 / precision
            spread += float(totals[number] @ variance)
            if level.sd not in fixed:
                tau2[number] = max(float(np.mean(effects[number] ** 2 + variance)), least)
        if not (known or "sigma" in fixed):
            sigma2 = max((float(weight @ rest**2) + spread) / len(rest), least)
    return unit**2 * tau2, unit**2 * sigma2, totals
