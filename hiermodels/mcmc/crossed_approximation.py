"""About where the posterior of crossed groups lies: how much the data say of each effect.

The effects of each column, given all others, are normal; replacing these by their means, and all
sds by those that make the rows most likely so, are steps that are repeated (mean-field EM)::

    e_u = Σ_i ω_i r_i / (Σ_i ω_i + σ²/τ²)       v_u = σ² / (Σ_i ω_i + σ²/τ²)
    τ² = mean (e_u² + v_u)                      σ² = (Σ_i ω_i r_i² + Σ_u ω_u v_u) / N

with r_i what is left of a row without the other columns' effects, and in σ² without any.  It is an
approximation, and serves the choice of a parameterization alone.

References
----------
Bishop (2006), Pattern recognition and machine learning, section 10.1.
"""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.model.spec import Spec

STEPS = 30
SMALLEST = 1e-6  # of an sd, in units of the outcome's


def weights_of_data(spec: Spec, data: GroupedData) -> list[Floats]:
    """The weight ``τ²/(τ² + σ²/ω_u)`` of the data in each effect's mean, given all other effects.

    Returns
    -------
    list of (u,)
        For each column.
    """
    rows = require_rows(data, "a model of crossed groups")
    unit = float(np.std(rows.y)) or 1.0
    weight, known = rows.precision, rows.se is not None
    fixed = {name: max((sd / unit) ** 2, SMALLEST**2) for name, sd in spec.fixed.items()}
    least = SMALLEST**2
    sigma2 = unit**-2.0 if known else fixed.get("sigma", 1.0)
    tau2 = [fixed.get(level.sd, 1.0) for level in spec.levels]
    ones = [np.ones((len(rows.y), 1))] if spec.intercept else []
    x = np.hstack([*ones, rows.design.matrix])
    sizes = [len(level) for level in data.levels]
    totals = [
        np.bincount(member, weight, size)
        for member, size in zip(rows.memberships, sizes, strict=True)
    ]
    rest = rows.y / unit
    effects = [np.zeros(size) for size in sizes]
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
            effects[number] = np.bincount(member, weight * rest, sizes[number]) / precision
            rest = rest - effects[number][member]
            variance = sigma2 / precision
            spread += float(totals[number] @ variance)
            if level.sd not in fixed:
                tau2[number] = max(float(np.mean(effects[number] ** 2 + variance)), least)
        if not (known or "sigma" in fixed):
            sigma2 = max((float(weight @ rest**2) + spread) / len(rest), least)
    return [tau / (tau + sigma2 / total) for tau, total in zip(tau2, totals, strict=True)]
