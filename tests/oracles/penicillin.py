"""Penicillin: diameters of 6 samples' zones on 24 plates, and their posterior.

Source: Davies & Goldsmith (1972), Statistical methods in research and production, 4th ed., table
6.6, as in the R package lme4: rows are plates a to x, columns samples A to F.

The posterior, ``penicillin.json``, with flat sds, was computed apart from this package, with other
code: two spacings agree to 1e-10 posterior sd.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

FIGURES: dict[str, Any] = json.loads(
    Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
)

DIAMETERS = """
27 23 26 23 23 21   27 23 26 23 23 21   25 21 25 24 24 20   26 23 25 23 23 20
25 22 26 22 23 20   24 22 25 23 22 19   24 20 23 21 22 19   26 22 26 24 24 21
24 21 24 22 22 20   24 21 24 23 22 19   26 23 26 24 24 21   25 22 26 24 24 20
26 24 26 24 25 22   26 23 26 23 23 20   26 23 25 24 24 22   25 22 25 23 23 20
25 21 24 23 23 20   25 22 24 23 23 19   24 21 23 21 21 19   26 23 26 24 24 21
25 21 24 22 22 18   25 22 25 22 22 20   24 21 24 22 24 19   24 21 24 22 21 18
"""


def diameters() -> np.ndarray:
    """In mm; (24, 6)."""
    return np.array(DIAMETERS.split(), dtype=float).reshape(24, 6)
