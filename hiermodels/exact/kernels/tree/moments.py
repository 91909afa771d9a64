"""Moments of the intercept and of effects given the hyperparameters, and over nodes of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.exact.kernels.records import Joint, Moments
from hiermodels.exact.kernels.tree.conditional import Conditional, downward
from hiermodels.exact.kernels.tree.marginal import Upward, batches, upward
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances


def level_moments(
    tree: Tree,
    variances: Variances,
    prior: Coefficients,
    origin: Floats,
    level: int,
    members: Indices | None = None,
) -> tuple[Floats, Floats]:
    """Mean and variance of one level's effects at each node, with β integrated out.

    Parameters
    ----------
    origin : (q,) or (u, q)
        They are taken at ``x = −origin``: see :meth:`Conditional.moments`.
    level : int
        Or ``ROOT``.
    members : (u,), optional
        Which of its members; all by default.

    Returns
    -------
    mean, variance : (n, u)
    """
    if members is None:
        members = np.arange(1 if level == ROOT else tree.sizes[level])
    mean, variance = (np.empty((len(variances), len(members))) for _ in range(2))
    for nodes, up, part, conditional in chosen_members(tree, variances, prior, level, members):
        own = origin if origin.ndim == 1 else origin[part]
        mean[nodes, part], variance[nodes, part] = conditional.moments(up, own)
    return mean, variance


class _Mixture:
    """Sums for the mean and covariance of mixtures, around anchors to keep all digits.

    ``E θ = a + Σ w (m − a)`` and ``Var θ = Σ w (v + (m − a)²) − (E θ − a)²``, where m and v
    are the components' means and variances and the anchor a is one of the means.
    """

    def __init__(self, anchors: list[Floats], beta: Floats, n_mixtures: int) -> None:
        q = len(beta)
        self.anchors, self.beta = anchors, beta
        self.first = [np.zeros((n_mixtures, len(anchor))) for anchor in anchors]
        self.second = [np.zeros((n_mixtures, len(anchor))) for anchor in anchors]
        self.beta_first = np.zeros((n_mixtures, q))
        self.beta_second = np.zeros((n_mixtures, q, q))

    def add(
        self, number: int, members: slice, share: Floats, mean: Floats, variance: Floats
    ) -> None:
        """Add effects around one of the anchors, at nodes with weights ``share`` (m, n)."""
        deviation = mean - self.anchors[number][members]
        self.first[number][:, members] += share @ deviation
        deviation *= deviation
        deviation += variance
        self.second[number][:, members] += share @ deviation

    def add_coefficients(self, share: Floats, up: Upward) -> None:
        """Add β at nodes with weights ``share`` (m, n)."""
        deviation = up.beta - self.beta
        self.beta_first += share @ deviation
        self.beta_second += np.einsum("mn,nij->mij", share, up.beta_covariance)
        self.beta_second += np.einsum("mn,ni,nj->mij", share, deviation, deviation)

    def moments(self) -> Moments:
        """Put the sums together."""
        sums = zip(self.anchors, self.first, self.second, strict=True)
        means, variances = zip(*((a + m, v - m**2) for a, m, v in sums), strict=True)
        outer = self.beta_first[:, :, None] * self.beta_first[:, None, :]
        return Moments(means, variances, self.beta + self.beta_first, self.beta_second - outer)


def mixture_moments(
    tree: Tree,
    variances: Variances,
    weights: Floats,
    prior: Coefficients,
    origin: Floats | Sequence[Floats],
    groups: Indices | None = None,
) -> Moments:
    """Mean and variance of the intercept, of every effect and of β, over weighted nodes.

    Parameters
    ----------
    weights : (m, n)
        Weights of the nodes, of sum 1 in each row: m mixtures are taken at once.
    origin : (q,), or a sequence of (q,) or (u, q)
        They are taken at ``x = −origin``, see :meth:`Conditional.moments`: one for all, or one
        for the root and for each level, down to the groups (those that are asked for).
    groups : (g',), optional
        Which groups; all by default.
    """
    heaviest = int(np.argmax(weights[0]))
    one = variances[slice(heaviest, heaviest + 1)]
    n_groups = tree.n_groups if groups is None else len(groups)
    anchors = [np.empty(size) for size in (1, *tree.sizes[:-1], n_groups)]

    def origin_of(level: int, members: slice) -> Floats:
        own = origin if isinstance(origin, np.ndarray) else origin[level - ROOT]
        return own if own.ndim == 1 else own[members]

    up = upward(tree, one, prior)
    for level, members, conditional in downward(tree, one, up, prior, groups):
        anchors[level - ROOT][members] = conditional.moments(up, origin_of(level, members))[0][0]
    total = _Mixture(anchors, up.beta[0], len(weights))
    for part in batches(tree, variances):
        nodes, share = variances[part], weights[:, part]
        up = upward(tree, nodes, prior)
        total.add_coefficients(share, up)
        for level, members, conditional in downward(tree, nodes, up, prior, groups):
            total.add(
                level - ROOT, members, share, *conditional.moments(up, origin_of(level, members))
            )
    return total.moments()


def level_joint(
    tree: Tree, variances: Variances, prior: Coefficients, level: int, members: Indices
) -> Joint:
    """Effects of some members of a level together with β, given the variances.

    Parameters
    ----------
    level : int
        Or ``ROOT``.
    members : (u,)
    """
    n, u, q = len(variances), len(members), tree.n_covariates
    mean, variance, covariance = np.empty((n, u)), np.empty((n, u)), np.empty((n, u, q))
    beta, beta_covariance = np.empty((n, q)), np.empty((n, q, q))
    for nodes, up, part, conditional in chosen_members(tree, variances, prior, level, members):
        mean[nodes, part], variance[nodes, part] = conditional.moments(up, np.zeros(q))
        covariance[nodes, part] = conditional.covariance(up)
        beta[nodes], beta_covariance[nodes] = up.beta, up.beta_covariance
    return Joint(mean, variance, covariance, beta, beta_covariance)


def mixture_joint(
    tree: Tree,
    variances: Variances,
    weights: Floats,
    prior: Coefficients,
    level: int,
    members: Indices,
) -> Joint:
    """The same over weighted nodes (n,), of weights with sum 1: a single node for all of them."""
    heaviest = int(np.argmax(weights))
    one = level_joint(tree, variances[slice(heaviest, heaviest + 1)], prior, level, members)
    anchor, anchor_beta, origin = one.mean[0], one.beta[0], np.zeros(tree.n_covariates)
    total = _Mixture([anchor], anchor_beta, 1)
    cross = np.zeros((len(members), tree.n_covariates))
    for nodes, up, part, conditional in chosen_members(tree, variances, prior, level, members):
        share = weights[None, nodes]
        mean, variance = conditional.moments(up, origin)
        total.add(0, part, share, mean, variance)
        cross[part] += (share * (mean - anchor[part]).T) @ (up.beta - anchor_beta)
        cross[part] += np.einsum("n,nuq->uq", share[0], conditional.covariance(up))
        if part.start == 0:
            total.add_coefficients(share, up)
    moments = total.moments()
    cross -= np.outer(moments.means[0][0] - anchor, moments.beta[0] - anchor_beta)
    return Joint(
        moments.means[0], moments.variances[0], cross[None], moments.beta, moments.beta_covariance
    )


def chosen_members(
    tree: Tree, variances: Variances, prior: Coefficients, level: int, members: Indices
) -> Iterator[tuple[slice, Upward, slice, Conditional]]:
    """Yield blocks of nodes, and for each of them blocks of the members."""
    for nodes in batches(tree, variances):
        up = upward(tree, variances[nodes], prior)
        for current, part, conditional in downward(tree, variances[nodes], up, prior, members):
            if current == level == tree.innermost:
                yield nodes, up, part, conditional
            elif current == level:
                yield nodes, up, slice(0, len(members)), conditional.of(members)
                break
