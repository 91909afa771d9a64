"""A bound on the density of the coefficients along every ray from its mode, and draws below it.

Let γ̂ be the mode at one τ, U with ``U U' = (Σ_g K_g + P)⁻¹``, and ``γ = γ̂ + r U u`` with a unit
vector u.  Of group g let

    k_g = (Uu)'K_g(Uu),      N_g = max(0, max_i x_i'Uu) + max(0, max_i −x_i'Uu).

Logistic and Poisson log likelihoods are self-concordant, ``|v'''| ≤ |v''|``, and smoothing by a
normal effect keeps this: the curvature of a group along the ray is at least ``k_g exp(−N_g r)``.
By Jensen's inequality that of all is at least ``exp(−N r)``, ``N = Σ_g k_g N_g``, and so

    f(γ̂ + r U u) ≤ f(γ̂) − ψ_N(r),      ψ_N(r) = (e^{−Nr} + Nr − 1)/N²,   ψ_0(r) = r²/2.

The mass below is, along one ray, ``R(N) = ∫ r^{p−1} exp(−ψ_N(r)) dr``, which grows with N.  Over
all u ``N ≤ λ_max(Σ_g D_g U'K_gU)``, D_g being the largest distance between two of the points 0 and
``U'x_i`` of a group.

References
----------
Bach (2010), Electronic Journal of Statistics 4:384 (self-concordance of logistic regression).
Devroye (1986), Non-Uniform Random Variate Generation, VII.2 (log-concave densities).
"""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.glmm.rows import CountRows

STEP = 0.7  # sds of a normal law of log r, between the places of a sum
WIDEST = 0.15  # the same in log r
TAIL = 45.0  # log of what is left out
FAR = 5.0  # log of how many times the most frequent r a sum goes beyond it
SMALL = 1e-4  # Nr, below which ψ is its series
MAX_ROOTS = 200
BISECTIONS = 40
MANY = 1000  # rows of a group, beyond which its box bounds distances
NUMBERS = 1 << 20  # that are worked on at a time


def log_drop(n: Floats, r: Floats) -> Floats:
    """``ψ_N(r)``; of arrays that broadcast."""
    x = n * r
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = (np.expm1(-x) + x) / n**2
    return np.where(x < SMALL, r**2 * (0.5 - x / 6 + x**2 / 24), exact)


def _slope(n: Floats, r: Floats) -> Floats:
    """``ψ'_N(r) = (1 − e^{−Nr})/N``."""
    x = n * r
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = -np.expm1(-x) / n
    return np.where(x < SMALL, r * (1 - x / 2 + x**2 / 6), exact)


def _modes(n: Floats, p: int) -> Floats:
    """The most frequent log r, where ``r ψ'_N(r) = p``; (J,)."""
    v = np.full(len(n), 0.5 * np.log(p))
    for _ in range(MAX_ROOTS):
        r = np.exp(v)
        rise = r * _slope(n, r)
        step = np.clip((np.log(p) - np.log(rise)) / (1 + r * np.exp(-n * r) / _slope(n, r)), -2, 2)
        v = v + step
        if (np.abs(step) < 1e-12).all():
            break
    return v


class RadialLaw:
    """Distances r from the modes, with densities ``∝ r^{p−1} exp(−ψ_N(r))`` for J values of N.

    Parameters
    ----------
    n : (J,)
    p : int
        Number of coefficients.
    """

    def __init__(self, n: Floats, p: int) -> None:
        self.n, self.p = n, p
        self._mode = _modes(n, p)
        self._top = self._height(self._mode)
        step = min(STEP * np.sqrt(0.5 / p), WIDEST)
        v = self._mode[:, None] + np.arange(-TAIL / p - 1, FAR, step)
        heights = p * v - log_drop(n[:, None], np.exp(v)) - self._top[:, None]
        self._mass = step * np.exp(heights).sum(axis=1)

    def _height(self, v: Floats) -> Floats:
        """Log density of ``v = log r``."""
        return self.p * v - log_drop(self.n, np.exp(v))

    @property
    def log_mass(self) -> Floats:
        """``log R(N)``; (J,)."""
        return self._top + np.log(self._mass)

    def upper_end(self, drop: float) -> Floats:
        """Above which log r the log density of it is lower than at its mode by more than this."""
        near, far = self._mode, self._mode + FAR
        for _ in range(BISECTIONS):
            middle = (near + far) / 2
            is_near = self._top - self._height(middle) < drop
            near, far = np.where(is_near, middle, near), np.where(is_near, far, middle)
        return far

    def draw(self, rng: np.random.Generator) -> Floats:
        """Draw once for each N: by rejection, the density of log r being log-concave; (J,).

        With the highest density h of a normalised log-concave one at m, it is nowhere above
        ``h min(1, exp(1 − h|v − m|))``, whose mass is 4.
        """
        v = np.empty(len(self.n))
        left = np.arange(len(v))
        while len(left):
            which, sign = rng.random(len(left)) < 0.5, rng.choice([-1.0, 1.0], len(left))
            size = np.where(which, rng.random(len(left)), 1 + rng.standard_exponential(len(left)))
            tried = self._mode[left] + sign * size * self._mass[left]
            height = self.p * tried - log_drop(self.n[left], np.exp(tried)) - self._top[left]
            kept = height + rng.standard_exponential(len(left)) > np.minimum(0.0, 1 - size)
            v[left[kept]] = tried[kept]
            left = left[~kept]
        return np.exp(v)


def reach(rows: CountRows, moved: Floats) -> Floats:
    """N_g of directions: the range of ``x_i'Uu`` with 0 over each group; from (N, J) to (G, J)."""
    high = np.maximum.reduceat(moved, rows.first, axis=0)
    low = np.minimum.reduceat(moved, rows.first, axis=0)
    return np.maximum(high, 0) - np.minimum(low, 0)


def largest_reach(rows: CountRows, factor: Floats, information: Floats) -> float:
    """A bound on N over all directions, ``λ_max(Σ_g D_g U'K_gU)``, at one τ.

    Parameters
    ----------
    factor : (p, p)
    information : (G, p, p)
        ``U'K_gU``.
    """
    sums = np.einsum("g,gij->ij", _diameters(rows, rows.x @ factor), information)
    return float(np.linalg.eigvalsh(sums)[-1])


def _diameters(rows: CountRows, points: Floats) -> Floats:
    """Largest distances between points (N, p) of each group, 0 among them; (G,).

    Of very many rows a bound: the diagonal of the box around them.
    """
    result = np.empty(rows.n_groups)
    for groups, index in rows.blocks(MANY):
        own = np.concatenate([points[index], np.zeros((len(index), 1, points.shape[1]))], axis=1)
        result[groups] = _box(own) if index.shape[1] > MANY else _farthest(own)
    return result


def _box(points: Floats) -> Floats:
    """Diagonals of the boxes around points (g, m, p); (g,)."""
    return np.asarray(np.linalg.norm(np.ptp(points, axis=1), axis=1))


def _farthest(points: Floats) -> Floats:
    """Largest distances between points (g, m, p); (g,)."""
    square = (points**2).sum(axis=2)
    both = square[:, :, None] + square[:, None] - 2 * points @ points.swapaxes(1, 2)
    return np.sqrt(np.maximum(both.max(axis=(1, 2)), 0.0))


def packed(symmetric: Floats) -> Floats:
    """Symmetric matrices (…, p, p) as vectors of which products give quadratic forms; (…, q)."""
    i, j = np.triu_indices(symmetric.shape[-1])
    return symmetric[..., i, j] * np.where(i == j, 1.0, 2.0)


def squares(vectors: Floats) -> Floats:
    """Products ``v_i v_j`` of vectors (J, p) in the order of :func:`packed`; (J, q)."""
    i, j = np.triu_indices(vectors.shape[1])
    return vectors[:, i] * vectors[:, j]
