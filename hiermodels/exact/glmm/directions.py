"""Rules for means over the directions of a space, turned at random.

Of p coordinates of a random unit vector u, ``E u_i⁴ = 3/(p(p+2))`` and ``E u_i² u_j² =
1/(p(p+2))``.  A frame, the directions ±e_i, has means of degree 3 right.  With it and corners

    ±e_i with weight 1/(p(p + 2)),      (±1, …, ±1)/√p with weight p/(p + 2) in all

so are those of degree 5 (Stroud 1967), of any corners in which each of four signs is as frequent as
every other, and of which each has its opposite.

References
----------
Genz & Monahan (1998), SIAM Journal on Scientific Computing 19:426 (rules turned at random).
Stroud (1967), SIAM Journal on Numerical Analysis 4:527 (the rule of degree 5).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from hiermodels.core.arrays import Floats


def frames(p: int, size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Directions of frames, and weights of sum 1: (2p·size, p) and (2p·size,)."""
    axes = np.eye(p)
    return _turned(np.vstack([axes, -axes]), np.full(2 * p, 0.5 / p), size, rng)


def with_corners(p: int, size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The same of rules of degree 5."""
    axes, signs = np.eye(p), corners(p)
    unit = np.vstack([axes, -axes, signs / np.sqrt(p)])
    each = np.repeat([1 / (p * (p + 2)), p / ((p + 2) * len(signs))], [2 * p, len(signs)])
    return _turned(unit, each, size, rng)


def _turned(
    unit: Floats, weight: Floats, size: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """A rule (d, p) turned at random so many times."""
    from scipy.stats import ortho_group

    p = unit.shape[1]
    turns = ortho_group.rvs(p, size, rng).reshape(size, p, p) if p > 1 else np.ones((size, 1, 1))
    return (unit @ turns).reshape(-1, p), np.tile(weight / size, size)


def corners(p: int) -> Floats:
    """Signs (n, p) of which any four are independent, with their opposites.

    They are linear functions of bits, of which no four or fewer sum to 0.
    """
    bits = 1
    while len(chosen := _independent(p, bits)) < p:
        bits += 1
    words = np.arange(1 << bits)
    parity = np.bitwise_count(words[:, None] & np.array(chosen)) % 2
    signs = 1.0 - 2.0 * parity
    return np.unique(np.vstack([signs, -signs]), axis=0)


def _independent(p: int, bits: int) -> list[int]:
    """At most p numbers below 2^bits of which no four or fewer have the exclusive or 0."""
    chosen: list[int] = []
    for word in range(1, 1 << bits):
        sums = {0, *chosen, *(a ^ b for a, b in combinations(chosen, 2))}
        sums |= {a ^ b ^ c for a, b, c in combinations(chosen, 3)}
        if word not in sums:
            chosen.append(word)
        if len(chosen) == p:
            break
    return chosen
