"""σ integrated by itself, and σ on the lattice: two computations of the same posteriors."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.quadrature import IntegratedPosterior


def pupils() -> pd.DataFrame:
    """Pupils in rooms in schools, with covariates of pupils, of rooms and of schools."""
    rng = np.random.default_rng(8)
    room = np.repeat(np.arange(24), rng.integers(1, 6, 24))
    school = np.sort(np.append(np.arange(7), rng.integers(0, 7, 17)))[room]
    frame = pd.DataFrame({"school": school, "room": room, "ses": rng.normal(size=len(room))})
    frame["size"], frame["new"] = rng.normal(size=24)[room], 2000 + rng.normal(size=7)[school]
    y = 30 + 2 * frame["ses"] + rng.normal(size=7)[school] + rng.normal(size=24)[room]
    return frame.assign(y=y + rng.normal(size=len(room)), w=rng.uniform(0.5, 2, len(room)))


WEAK = {name: hm.HalfNormal(2) for name in ("tau", "kappa", "sigma")}
CASES = {
    "two levels": ("y ~ ses + (1 | room)", {}, {}),
    "three levels": ("y ~ ses + size + new + (1 | school/room)", {}, {}),
    "half-normal sds": ("y ~ ses + (1 | school/room)", WEAK, {}),
    "weights": ("y ~ ses + (1 | room)", {"tau": hm.HalfCauchy(1)}, {"weights": "w"}),
    "normal coefficients": (
        "y ~ ses + new + (1 | room)",
        {"mu": hm.Normal(30, 5), "beta[ses]": hm.Normal(0, 1), "sigma": hm.Exponential(1)},
        {},
    ),
    "flat sd": ("y ~ 1 + (1 | school)", {"tau": hm.FlatSD()}, {}),
}


@cache
def both(case: str) -> tuple[BlockReference, IntegratedPosterior]:
    formula, priors, options = CASES[case]
    found = hm.reference(pupils(), formula, priors=priors or None, **options)
    assert isinstance(found, BlockReference)
    return found, IntegratedPosterior.of(found.spec, found.data)


@pytest.mark.parametrize("case", CASES)
def test_moments_and_quantiles(case: str) -> None:
    found, known = both(case)
    for name, sd in known.sd.items():
        away = (found.mean[name] - known.mean[name]) / sd
        np.testing.assert_allclose(away, 0, atol=1e-8)
        np.testing.assert_allclose(found.sd[name], sd, rtol=1e-8)
    q = np.array([0.001, 0.025, 0.5, 0.975, 0.999])
    one, other = found.quantile(q), known.quantile(q)
    for name in one:
        width = other[name].isel({"quantile": 3}) - other[name].isel({"quantile": 1})
        np.testing.assert_allclose((one[name] - other[name]) / width, 0, atol=5e-6)
