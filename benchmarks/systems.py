"""School systems that several benchmarks simulate."""

from __future__ import annotations

import numpy as np
import pandas as pd

PUPILS, SCHOOLS, AREAS = 31_022, 2_410, 131


def school_system(
    pupils: int = PUPILS, schools: int = SCHOOLS, areas: int = AREAS, random_seed: int = 0
) -> pd.DataFrame:
    """Simulate pupils in schools in areas, of very different sizes, in random order."""
    rng = np.random.default_rng(random_seed)
    shares = rng.dirichlet(np.full(areas, 2.0))
    area = np.append(np.arange(areas), rng.choice(areas, schools - areas, p=shares))
    size = 1 + rng.multinomial(pupils - schools, rng.dirichlet(np.full(schools, 2.0)))
    theta = rng.normal(0, 0.15, areas)[area] + rng.normal(0, 0.3, schools)
    school = rng.permutation(np.repeat(np.arange(schools), size))
    return pd.DataFrame(
        {
            "area": np.char.mod("A%d", area)[school],
            "school": np.char.mod("S%d", np.arange(schools))[school],
            "y": theta[school] + rng.normal(0, 0.9, pupils),
        }
    )
