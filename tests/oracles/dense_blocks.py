"""Nested groups with several effects as one multivariate normal, in many digits: slow and plain.

Nothing is shared with the package: the covariance of all rows is written out, and inverted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mpmath import mp, mpf


def matrix(a):
    return mp.matrix([[mpf(float(v)) for v in row] for row in np.atleast_2d(a)])


def sub(a, rows):
    """Some rows of a matrix, whose entries are kept in full."""
    out = mp.matrix(len(rows), a.cols)
    for i, row in enumerate(rows):
        for j in range(a.cols):
            out[i, j] = a[int(row), j]
    return out


def floats(a):
    return np.array([[float(a[i, j]) for j in range(a.cols)] for i in range(a.rows)])


@dataclass(frozen=True)
class Nested:
    """Rows ``y = z'θ + x'β + e``, and the covariance of effects around their parents'.

    Attributes
    ----------
    z, x, y, weight
        (n, p), (n, q), (n,) and (n,).
    group : (n,)
    parents : tuple of (u,)
    factors : list of (p, p)
        L of each level, the outermost first: effects have the covariance ``σ² L L'``.
    sigma : float
    fixed : (p,)
    mean, precision : (c,)
        Of normal priors of the coefficients; precision 0 is flat.
    """

    z: np.ndarray
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    parents: tuple[np.ndarray, ...]
    factors: list[np.ndarray]
    sigma: float
    fixed: np.ndarray
    mean: np.ndarray
    precision: np.ndarray

    @cached_property
    def member(self):
        """The member of each level that each row is below, the outermost first."""
        chain = [self.group]
        for parent in reversed(self.parents):
            chain.insert(0, parent[chain[0]])
        return chain

    @cached_property
    def design(self):
        """Columns of the coefficients."""
        return matrix(np.hstack([self.z[:, self.fixed], self.x]))

    @cached_property
    def spreads(self):
        """Covariances T of each level."""
        return [mpf(self.sigma) ** 2 * matrix(f) * matrix(f).T for f in self.factors]

    @cached_property
    def covariance(self):
        """Covariance of the rows given the coefficients."""
        z, n = matrix(self.z), len(self.y)
        total = mp.matrix(n, n)
        for i in range(n):
            total[i, i] = mpf(self.sigma) ** 2 / mpf(float(self.weight[i]))
        for member, spread in zip(self.member, self.spreads, strict=True):
            product = z * spread * z.T
            for i in range(n):
                for j in range(n):
                    if member[i] == member[j]:
                        total[i, j] += product[i, j]
        return total

    @cached_property
    def inverse(self):
        return mp.inverse(self.covariance)

    @cached_property
    def coefficients(self):
        """Mean and covariance of the coefficients, and the precision of that."""
        x, y = self.design, matrix(self.y).T
        prior = mp.diag([mpf(float(p)) for p in self.precision])
        precision = x.T * self.inverse * x + prior
        covariance = mp.inverse(precision)
        mean = covariance * (x.T * self.inverse * y + prior * matrix(self.mean).T)
        return mean, covariance, precision

    def log_likelihood(self):
        """``log p(y)``, flat priors having the density 1."""
        mean, _, precision = self.coefficients
        y, proper = matrix(self.y).T, self.precision[self.precision > 0]
        rest = y - self.design * mean
        square = (rest.T * self.inverse * rest)[0]
        square += mp.fsum(
            mpf(float(p)) * (m - mpf(float(own))) ** 2
            for p, own, m in zip(self.precision, self.mean, mean, strict=True)
        )
        n = len(y) + len(proper) - len(mean)
        log_det = mp.log(mp.det(self.covariance)) + mp.log(mp.det(precision))
        log_det -= mp.fsum(mp.log(mpf(float(p))) for p in proper)
        return float(-(log_det + square + n * mp.log(2 * mp.pi)) / 2)

    def effects(self, level, number):
        """Mean (p,) and covariance (p, p) of a member's effects."""
        p, n = self.z.shape[1], len(self.y)
        mean, covariance, _ = self.coefficients
        chain = {level: number}
        for above in range(level, 0, -1):
            chain[above - 1] = int(self.parents[above - 1][chain[above]])
        total, with_rows = mp.matrix(p, p), mp.matrix(p, n)
        for above, own in chain.items():
            total += self.spreads[above]
            product = self.spreads[above] * matrix(self.z).T
            for i in range(n):
                if self.member[above][i] == own:
                    for j in range(p):
                        with_rows[j, i] += product[j, i]
        lift = mp.matrix(p, len(mean))
        for column, j in enumerate(np.flatnonzero(self.fixed)):
            lift[int(j), column] = 1
        gain = with_rows * self.inverse
        moved = lift - gain * self.design
        center = lift * mean + gain * (matrix(self.y).T - self.design * mean)
        return (
            floats(center)[:, 0],
            floats(total - gain * with_rows.T + moved * covariance * moved.T),
        )


def random_nested(rng, levels, p, q, proper=False):
    """An unbalanced design with groups of one row, constant z in a group, and any rank of T."""
    parents, size = [], int(rng.integers(2, 4))
    for _ in range(levels - 1):
        parents.append(np.repeat(np.arange(size), rng.integers(1, 3, size)))
        size = len(parents[-1])
    group = np.repeat(np.arange(size), rng.integers(1, 4, size))
    while len(group) < p + q + 3:
        group = np.sort(np.append(group, rng.integers(0, size)))
    n = len(group)
    z = rng.integers(-2, 3, (n, p)) + np.where(rng.random(p) < 0.5, 0.0, rng.normal(size=(n, p)))
    z[:, 0] = 1.0
    z[group == 0, 1:] = z[0, 1:]
    fixed = rng.random(p) < 0.8
    scale = 10.0 ** rng.uniform(-4, 4, (levels, p))
    factors = [np.tril(rng.normal(size=(p, p))) * s[:, None] for s in scale]
    for factor in factors:
        factor[:, rng.integers(0, p + 1) :] = 0.0
    c = int(fixed.sum()) + q
    precision = (
        np.where(rng.random(c) < 0.5, rng.uniform(0.01, 1, c), 0.0) if proper else np.zeros(c)
    )
    return Nested(
        z,
        rng.normal(size=(n, q)),
        rng.normal(size=n) * 2,
        rng.uniform(0.3, 3, n) if rng.random() < 0.5 else np.ones(n),
        group,
        tuple(parents),
        factors,
        float(np.exp(rng.normal())),
        fixed,
        rng.normal(size=c),
        precision,
    )
