"""The model as one large multivariate normal: slow, plain, and independent of the recursion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import multivariate_normal

from hiermodels.core.arrays import Floats
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances

VAGUE = 1e9  # prior variance that stands in for a flat prior


@dataclass(frozen=True)
class Design:
    """Rows with their groups and schools, and the same data as a tree."""

    x: Floats
    y: Floats
    weight: Floats
    group: np.ndarray
    parent: np.ndarray | None

    @property
    def tree(self) -> Tree:
        """Group means and scatter by plain loops."""
        z = np.column_stack([self.x, self.y])
        groups = range(self.group.max() + 1)
        mean = np.array(
            [
                np.average(z[self.group == g], axis=0, weights=self.weight[self.group == g])
                for g in groups
            ]
        )
        away = z - mean[self.group]
        return Tree(
            mean=mean,
            weight=np.array([self.weight[self.group == g].sum() for g in groups]),
            scatter=(self.weight[:, None] * away).T @ away,
            n_rows=len(self.y),
            log_weight=float(np.log(self.weight).sum()),
            parents=() if self.parent is None else (self.parent,),
        )


def random_design(rng: np.random.Generator, levels: int, q: int, known: bool) -> Design:
    """Make an unbalanced design with singletons, and schools of one classroom."""
    schools = rng.integers(2, 5)
    parent = np.repeat(np.arange(schools), rng.integers(1, 4, schools)) if levels == 2 else None
    groups = len(parent) if parent is not None else rng.integers(2, 7)
    group = np.repeat(np.arange(groups), rng.integers(1, 5, groups))
    n = len(group)
    weight = rng.uniform(0.3, 3, n) if known else np.ones(n)
    return Design(rng.normal(size=(n, q)), rng.normal(size=n) * 2, weight, group, parent)


def joint(
    design: Design, variances: Variances, prior: Coefficients
) -> tuple[Floats, Floats, Floats, Floats]:
    """Joint prior mean and covariance of the intercept, of all effects and of β, and of y.

    Returns
    -------
    mean, covariance
        Of the vector ``[root, (schools), theta, beta]``.
    design matrix
        ``y = design @ vector + noise``.
    noise
        Variances of the rows.
    """
    q = design.x.shape[1]
    groups = design.group.max() + 1
    sizes = [1] + ([] if design.parent is None else [design.parent.max() + 1]) + [groups]
    parents = [np.zeros(sizes[1], dtype=int)]
    parents += [] if design.parent is None else [design.parent]
    given = np.append(np.diag(prior.precision), prior.root_precision)
    precision = np.where(given > 0, given, 1 / VAGUE)
    total = sum(sizes)
    lift = np.zeros((total, total))  # values = lift @ independent noises, from the root downwards
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    noise = np.zeros(total)
    noise[0] = 1 / precision[-1]
    lift[0, 0] = 1
    for level, (parent, between) in enumerate(zip(parents, variances.between, strict=True)):
        rows = slice(offsets[level + 1], offsets[level + 2])
        lift[rows] = lift[offsets[level] + parent]
        lift[rows, rows] += np.eye(len(parent))
        noise[rows] = between[0]
    values = lift @ np.diag(noise) @ lift.T
    full = np.zeros((total + q, total + q))
    full[:total, :total] = values
    full[total:, total:] = np.diag(1 / precision[:q])
    mean = np.concatenate([np.full(total, prior.root_row[-1]), prior.mean])
    indicator = np.zeros((len(design.y), total))
    indicator[np.arange(len(design.y)), total - groups + design.group] = 1
    return mean, full, np.hstack([indicator, design.x]), float(variances.sigma2[0]) / design.weight


def log_likelihood(design: Design, variances: Variances, prior: Coefficients) -> float:
    """``log p(y | variances)``; proper priors only."""
    mean, covariance, matrix, noise = joint(design, variances, prior)
    total = matrix @ covariance @ matrix.T + np.diag(noise)
    return float(multivariate_normal(matrix @ mean, total).logpdf(design.y))


def conditional(design: Design, variances: Variances, prior: Coefficients) -> tuple[Floats, Floats]:
    """Mean and covariance of ``[root, (schools), theta, beta]`` given y and the variances."""
    mean, covariance, matrix, noise = joint(design, variances, prior)
    total = matrix @ covariance @ matrix.T + np.diag(noise)
    gain = covariance @ matrix.T @ np.linalg.inv(total)
    return mean + gain @ (design.y - matrix @ mean), covariance - gain @ matrix @ covariance
