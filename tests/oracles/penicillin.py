"""Penicillin: diameters of 6 samples' zones on 24 plates, and their posterior.

Source: Davies & Goldsmith (1972), Statistical methods in research and production, 4th ed., table
6.6, as in the R package lme4: rows are plates a to x, columns samples A to F.

The posterior, ``penicillin.json``, with flat sds, was computed apart from this package, with other
code: two spacings agree to 1e-10 posterior sd, in means and sds.  Quantiles it states to 8e-9:
:func:`probabilities` tells, by nested integrals in closed form.
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


def probabilities(sd: int, values: np.ndarray) -> np.ndarray:
    """Probabilities that ``tau_plate``, ``tau_sample`` or ``sigma`` is at most each value; (v,).

    All I plates meet all J samples, so that with ``λ_a = σ² + J τ_a²`` and ``λ_b = σ² + I τ_b²``
    (Searle, Casella & McCulloch 1992, Variance components, section 4.4)

        p(y | τ, σ) ∝ Π_k λ_k^(−f_k/2) exp(−S_k/(2λ_k)),   f = I − 1, J − 1, (I − 1)(J − 1),

    S being the sums of squares of plates, samples and the rest, whose λ is σ².  Given σ either τ
    has a law by itself: three integrals of one dimension, by Gauss's rule on panels.
    """
    y = diameters()
    n_plates, n_samples = y.shape
    plate, sample = y.mean(axis=1, keepdims=True), y.mean(axis=0)
    squares = (
        n_samples * np.sum((plate - y.mean()) ** 2),
        n_plates * np.sum((sample - y.mean()) ** 2),
        np.sum((y - plate - sample + y.mean()) ** 2),
    )
    df = n_plates - 1, n_samples - 1, (n_plates - 1) * (n_samples - 1)
    ends = np.log([[1e-6, 1e-6, 0.3], [50.0, 1e9, 1.6]])

    def given_sigma(k: int, t: np.ndarray, last: float) -> np.ndarray:
        """Integral over one log τ up to its last, at log sigma; (t,)."""
        at, weights = _panels(ends[0, k], last, 24)
        variance = np.exp(2 * t)[:, None] + (n_samples, n_plates)[k] * np.exp(2 * at)
        scaled = squares[k] / df[k]
        power = np.log(variance / scaled) + scaled / variance - 1
        return np.exp(at - 0.5 * df[k] * power) @ weights

    def mass(limits: np.ndarray) -> float:
        t, weights = _panels(ends[0, 2], limits[2], 8)
        scaled = squares[2] / df[2]
        power = 2 * t - np.log(scaled) + scaled * np.exp(-2 * t) - 1
        both = given_sigma(0, t, limits[0]) * given_sigma(1, t, limits[1])
        return float(np.exp(-0.5 * df[2] * power) * both @ weights)

    upper = np.tile(ends[1], (len(values), 1))
    upper[:, sd] = np.log(values)
    return np.array([mass(row) for row in upper]) / mass(ends[1])


def _panels(low: float, high: float, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of Gauss's rule with 40 points on each of some panels."""
    x, weights = np.polynomial.legendre.leggauss(40)
    half = (high - low) / number / 2
    middles = low + half * (2 * np.arange(number) + 1)
    return (middles[:, None] + half * x).ravel(), np.tile(half * weights, number)
