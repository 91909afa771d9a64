"""Nested groups with several normal effects each: what the rows say of them.

Members of L nested levels have effects θ, vectors of p numbers that ride on the columns z of their
rows.  Given the member above, and at the outermost level the root,

    θ_u = θ_parent + N(0, T_ℓ),    T_ℓ = σ² L_ℓ L_ℓ',
    y_i = z_i'θ_group + x_i'β + N(0, σ²/ω_i).

The root's θ are fixed coefficients, or 0 where there is none; x are further covariates.  All that
the rows below a member say of its θ are p rows

    D_y = R θ + D_x β + N(0, σ² I),    an array [R | D_x | D_y], R upper triangular,

beside rows that are free of θ, which only say something of β and σ.  For a group the array is made
by a QR decomposition of its rows ``√ω [z x y]``, once.  R may have any rank: a group of one row has
one row, and one in which z does not vary says nothing of some direction of θ.

Groups with the same R, one *design*, share all matrices: of those under one parent the mean of D
and their number are kept, and of all of them the scatter of D around these means.

Shapes: p effects, q further covariates, g groups, k designs, c classes, which are the groups of one
design under one parent.

References
----------
Golub & Van Loan (2013), Matrix Computations, 4th ed., chapter 5 (QR, Givens rotations).
Lindley & Smith (1972), JRSS B 34:1 (the linear model with several levels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.kernels.blocks.children import Children
from hiermodels.exact.kernels.blocks.strata import Strata, restricted
from hiermodels.exact.kernels.blocks.turned import Turned
from hiermodels.exact.kernels.tree.tree import Tree
from hiermodels.numerics.group_triangles import by_group, distinct, triangles_of


@dataclass(frozen=True, eq=False)
class Blocks:
    """What the rows say of their groups, and how these hang together.

    Attributes
    ----------
    designs : (p, p, k)
        R of each design, upper triangular.
    design : (g,)
        Which design each group has.
    outcome : (p, q + 1, g)
        [D_x | D_y] of each group.
    rest : (m, q + 1)
        Rows [x | y] that are free of all effects.
    n_rows : int
    log_weight : float
        Sum of ``log ω`` over the rows.
    fixed : (p,)
        Which of the root's θ are coefficients; the others are 0.
    parents : tuple of (u,)
        For each level but the outermost, from there downwards: the index of every member's parent
        in the level above, ascending, with no parent left out.
    turned : Turned, optional
        How groups of one row each, whose errors are correlated, are turned.
    strata : Strata, optional
        Where rows of several strata have residual sds of their own.
    """

    designs: Floats
    design: Indices
    outcome: Floats
    rest: Floats
    n_rows: int
    log_weight: float
    fixed: Flags
    parents: tuple[Indices, ...] = ()
    turned: Turned | None = None
    strata: Strata | None = None

    @classmethod
    def of(
        cls,
        columns: tuple[Floats, Floats, Floats],
        group: Indices,
        parents: tuple[Indices, ...] = (),
        weight: Floats | None = None,
        fixed: Sequence[bool] | None = None,
    ) -> Self:
        """Decompose the rows of each group.

        Parameters
        ----------
        columns : (n, p), (n, q) and (n,)
            z, x and y.
        group : (n,)
            Each row's group; all groups from 0 on have rows.
        parents : tuple of (u,)
        weight : (n,), optional
            ω, by default 1.
        fixed : (p,), optional
            By default all.
        """
        z, x, y = columns
        rows = np.column_stack([z, x, y])
        if weight is not None:
            rows = rows * np.sqrt(weight)[:, None]
        p, n = z.shape[1], len(rows)
        constant, mean = _means(columns, group, weight)
        if weight is None:
            rows[:, p:] -= mean[group]
        else:
            rows[:, p:] -= mean[group] * np.sqrt(weight)[:, None]
        triangles, rest = triangles_of(rows[by_group(rows, group, p)], np.bincount(group), p)
        triangles[:, :, p:] += triangles[:, :, [constant]] * mean[:, None]
        kinds, design = np.unique(
            triangles[:, :, :p].reshape(-1, p * p), axis=0, return_inverse=True
        )
        return cls(
            designs=np.ascontiguousarray(kinds.reshape(-1, p, p).transpose(1, 2, 0)),
            design=design.ravel(),
            outcome=np.ascontiguousarray(triangles[:, :, p:].transpose(1, 2, 0)),
            rest=rest,
            n_rows=n,
            log_weight=0.0 if weight is None else float(np.log(weight).sum()),
            fixed=np.ones(p, dtype=bool) if fixed is None else np.array(fixed, dtype=bool),
            parents=parents,
        )

    @classmethod
    def of_rotated(
        cls,
        rows: Floats,
        free: Floats,
        size: tuple[int, float],
        fixed: Sequence[bool],
        parents: tuple[Indices, ...] = (),
    ) -> Self:
        """Decompose rows that have the same cross-products as the rows of each group.

        Parameters
        ----------
        rows : (g, m, p + q + 1)
            √ω [z x y], or what a rotation makes of it; of each group m.
        free : (r, q + 1)
            Rows that are free of all effects, of all groups together.
        size : (int, float)
            Number of the rows that these stand for, and their sum of log ω.
        fixed, parents
            As in :meth:`of`.
        """
        p, (groups, m, columns) = len(fixed), rows.shape
        triangles, rest = triangles_of(rows.reshape(-1, columns), np.full(groups, m), p)
        kinds, design = distinct(triangles[:, :, :p])
        return cls(
            designs=np.ascontiguousarray(kinds.transpose(1, 2, 0)),
            design=design,
            outcome=np.ascontiguousarray(triangles[:, :, p:].transpose(1, 2, 0)),
            rest=np.linalg.qr(np.concatenate([rest, free]), mode="r"),
            n_rows=size[0],
            log_weight=size[1],
            fixed=np.array(fixed, dtype=bool),
            parents=parents,
        )

    @cached_property
    def above(self) -> Floats:
        """What each group's rows D say of its parent's effects, H put in; (p, p, g)."""
        r = self.designs[:, :, self.design]
        return r if self.turned is None else r * self.turned.loading[self.design]

    @cached_property
    def alone(self) -> Floats:
        """[R | D_x | D_y] of each group, by its own rows alone; (p, p + q + 1, g).

        Of groups that are turned, whose rows are correlated with others: turned back, a row over
        the root of its variance.
        """
        r = self.designs[:, :, self.design]
        if self.turned is None:
            return np.concatenate([r, self.outcome], axis=1)
        return self.turned.alone(r[0, 0], self.outcome[0])

    @property
    def p(self) -> int:
        """Number of effects of each member."""
        return len(self.designs)

    @property
    def q(self) -> int:
        """Number of further covariates."""
        return self.outcome.shape[1] - 1

    @property
    def n_coefficients(self) -> int:
        """Number of the root's coefficients and of further ones."""
        return int(self.fixed.sum()) + self.q

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of members at each level, from the outermost to the groups."""
        return (*(int(parent[-1]) + 1 for parent in self.parents), len(self.design))

    def parent(self, level: int) -> Indices:
        """Index of the parent of each member of a level; the root's, 0, above the outermost."""
        return self.parents[level - 1] if level else np.zeros(self.sizes[0], dtype=np.intp)

    @cached_property
    def classes(self) -> Classes:
        """The groups of one design under one parent, put together."""
        return _classes(self)

    @cached_property
    def children(self) -> tuple[Children, ...]:
        """For each level above the groups, and last for the classes: whose children they are."""
        above = [self.parent(i) for i in range(len(self.parents))]
        return tuple(Children.of(parent) for parent in (*above, self.classes.parent))

    @cached_property
    def tree(self) -> Tree | None:
        """The same as means and weights, where each group has one effect and says something of it.

        With R a number r, they are ``D/r`` and ``r²``.
        """
        if self.p > 1 or self.turned or self.strata or not (self.designs > 0).all():
            return None
        r = self.designs[0, 0, self.design]
        return Tree(
            mean=(self.outcome[0] / r).T,
            weight=r**2,
            scatter=self.rest_squares[:, :, 0],
            n_rows=self.n_rows,
            log_weight=self.log_weight,
            parents=self.parents,
        )

    @cached_property
    def rest_squares(self) -> Floats:
        """Cross-products (q + 1, q + 1, 1 or n) of the rows that are free of all effects."""
        if self.strata:
            return self.strata.squares(self.rest)
        return (self.rest.T @ self.rest)[:, :, None]

    def given(self, inverse: Floats) -> Blocks:
        """The same where strata have the residual sds σδ; ``1/δ`` (K, n) at n nodes."""
        assert self.strata is not None
        some = replace(self, strata=replace(self.strata, inverse=inverse))
        shared = {"classes": self.classes, "children": self.children, "sizes": self.sizes}
        some.__dict__.update(shared)  # what does not depend on δ is not made again
        return some

    def at(self, nodes: slice | Indices) -> Blocks:
        """The same at some nodes."""
        if self.strata is None or self.strata.inverse.shape[1] == 1:
            return self
        return self.given(self.strata.inverse[:, nodes])

    def scaled(self, array: Floats, design: Indices | slice = slice(None)) -> Floats:
        """What is said of groups or designs (..., u), over δ of their strata; (..., u, 1 or n).

        ``design`` is that of each of the u groups; by default each design stands once.
        """
        if self.strata is None:
            return array[..., None]
        return array[..., None] * self.strata.inverse[self.strata.design[design]]

    def only(self, some: Flags) -> Blocks:
        """The rows of some strata (K,); all groups stay, those of others without rows."""
        assert self.strata is not None
        kept, of = self.strata, self.strata.design
        return replace(
            self,
            designs=restricted(some, of, self.designs),
            outcome=restricted(some, of[self.design], self.outcome),
            rest=self.rest[some[kept.rest]],
            n_rows=int(kept.n_rows[some].sum()),
            strata=replace(kept, rest=kept.rest[some[kept.rest]], n_rows=kept.n_rows * some),
        )

    def less(self, beta: Floats) -> Blocks:
        """The same of the outcome less ``x'β``."""
        outcome, rest = self.outcome.copy(), self.rest.copy()
        outcome[:, -1] -= np.einsum("ijg,j->ig", outcome[:, :-1], beta)
        rest[:, -1] -= rest[:, :-1] @ beta
        return replace(self, outcome=outcome, rest=rest)

    def shifted(self, center: Floats) -> Blocks:
        """The same with x and y less ``z'center``, z being the root's effects; (f, q + 1)."""
        said = np.einsum("ifk,fq->iqk", self.designs[:, self.fixed], center)
        return replace(self, outcome=self.outcome - said[:, :, self.design])

    def combined(self, columns: Floats, within: Flags) -> Blocks:
        """The same with the covariates ``x columns`` (q, q), some of which vary within groups."""
        outcome, rest = self.outcome.copy(), self.rest.copy()
        outcome[:, :-1] = np.einsum("ijg,jk->ikg", self.outcome[:, :-1], columns)
        rest[:, :-1] = np.where(within, self.rest[:, :-1] @ columns, 0.0)
        return replace(self, outcome=outcome, rest=rest)


@dataclass(frozen=True, eq=False)
class Classes:
    """Groups of one design under one parent.

    Attributes
    ----------
    design, parent : (c,)
        Of each class; parents ascend.
    count : (c,)
        Number of groups.
    mean : (p, q + 1, c)
        Mean of [D_x | D_y].
    scatter : (p, (q + 1)·s, k)
        For each design s arrays [D_x | D_y], side by side, whose sums of products are those of the
        groups' deviations from the mean of their class.
    design_count : (k,)
        Number of groups of each design.
    """

    design: Indices
    parent: Indices
    count: Floats
    mean: Floats
    scatter: Floats
    design_count: Floats


def _means(
    columns: tuple[Floats, Floats, Floats], group: Indices, weight: Floats | None
) -> tuple[int, Floats]:
    """A constant effect z_j = 1, and the groups' means (g, q + 1) of x and y; 0, if there is none.

    Without them, rows within groups keep their digits however far from 0 the groups are.
    """
    z, x, y = columns
    rows = np.column_stack([x, y])
    constant = np.flatnonzero((z == 1).all(axis=0))
    size = np.bincount(group, weight)
    if not len(constant):
        return 0, np.zeros((len(size), rows.shape[1]))
    own = np.ones(len(rows)) if weight is None else weight
    sums = np.stack([np.bincount(group, own * column) for column in rows.T], axis=1)
    return int(constant[0]), sums / size[:, None]


def _classes(blocks: Blocks) -> Classes:
    parent, kinds = blocks.parent(len(blocks.sizes) - 1), blocks.designs.shape[2]
    keys, of_group, count = np.unique(
        parent * kinds + blocks.design, return_inverse=True, return_counts=True
    )
    flat = blocks.outcome.reshape(-1, len(blocks.design))
    sums = np.array([np.bincount(of_group.ravel(), row, len(keys)) for row in flat])
    means = sums / count
    away = (flat - means[:, of_group.ravel()]).T
    numbers = away.shape[1]
    roots = np.zeros((kinds, numbers, numbers))
    for kind in np.flatnonzero(np.bincount(keys % kinds, count - 1.0, kinds)):
        triangle = np.linalg.qr(away[blocks.design == kind], mode="r")
        roots[kind, : len(triangle)] = triangle
    used = roots.any(axis=(0, 2)).nonzero()[0]
    scatter = roots[:, : used.max(initial=-1) + 1].reshape(kinds, -1, blocks.p, blocks.q + 1)
    return Classes(
        design=keys % kinds,
        parent=keys // kinds,
        count=count.astype(float),
        mean=means.reshape(blocks.p, blocks.q + 1, -1),
        scatter=scatter.transpose(2, 1, 3, 0).reshape(blocks.p, -1, kinds),
        design_count=np.bincount(blocks.design, minlength=kinds).astype(float),
    )
