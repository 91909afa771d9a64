"""Data and figures of models with slopes.

Sources: cakes, of Cook (1938), Chocolate cake: I. Optimum baking temperature, Iowa State College,
as in the R package lme4: angles at which 270 cakes broke: rows are the 45 batches, three recipes
in each of 15 replicates, columns the temperatures 175, 185, …, 225.

Posteriors of the sleep study, ``slopes.json``, were computed apart from this package, with other
code, on lattices over the sds relative to σ and the correlation: two spacings agree to 3e-13
posterior sds in means and sds, and to 2e-7 in quantiles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hiermodels.datasets import load_sleepstudy

SLEEP: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
)
PROBABILITIES = (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)
# Means of the sds, the correlation and σ of the cakes' angles on temperature, by the same code
CAKES_MEANS = {"tau": (6.6916, 0.36083), "rho": 0.4341, "sigma": 4.52371}

CAKES = """
42 46 47 39 53 42   39 46 51 49 55 42   46 44 45 46 48 63
47 29 35 47 57 45   35 46 47 39 52 61   43 43 43 46 47 58
32 32 37 43 45 45   34 30 42 35 42 35   33 24 40 37 41 38
26 32 35 24 39 26   25 26 28 46 37 37   38 41 38 30 36 35
28 30 31 37 41 47   31 30 29 35 40 36   21 25 31 35 33 23
24 22 22 29 35 26   24 29 29 29 24 35   24 33 30 30 37 35
26 23 25 27 33 35   22 25 26 26 29 36   20 21 31 24 30 33
24 33 23 32 31 34   26 23 24 31 27 37   24 23 21 24 21 35
24 27 28 33 34 23   27 26 32 28 32 33   24 18 21 26 28 28
24 33 27 31 30 33   21 24 24 27 37 30   26 28 27 27 35 35
33 39 33 28 33 30   20 27 33 31 28 33   28 25 26 25 38 28
28 31 27 39 35 43   23 28 31 34 31 29   24 30 28 35 33 28
29 28 31 29 37 33   32 35 30 27 35 30   28 29 43 28 33 37
24 40 29 40 40 31   23 25 22 19 21 35   19 22 27 25 25 35
26 28 32 25 37 33   21 21 28 26 27 20   21 28 25 25 31 25
"""


def cakes():
    """Angles, temperatures (in tens from 200), recipes (0 to 2) and batches (0 to 44)."""
    angle = np.array(CAKES.split(), dtype=float)
    batch = np.repeat(np.arange(45), 6)
    temperature = np.tile(np.arange(-2.5, 3.0), 45)
    return angle, temperature, batch % 3, batch


def sleepstudy():
    """Reaction times, days and subjects as numbers."""
    frame = load_sleepstudy()
    subject = frame["Subject"].astype("category").cat.codes.to_numpy().astype(np.intp)
    return frame["Reaction"].to_numpy(), frame["Days"].to_numpy(dtype=float), subject
