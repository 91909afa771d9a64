"""What every kernel does: effects and coefficients integrated out given the hyperparameters.

All values are standardised, and none is the outcome's unit.  ``n`` counts nodes, which are settings
of the hyperparameters, ``u`` members of a level, ``q`` covariates.  Level 0 is the outermost; above
it stands the intercept, ``ROOT``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.records import Densities, Joint, Moments, Rows, UpperDraws


class Given(Protocol):
    """The law of rows, effects and coefficients given the hyperparameters, at n nodes."""

    def log_likelihood(self) -> Floats:
        """``log p(y | hyperparameters)``, effects and coefficients integrated out; (n,)."""

    def rounding_error(self) -> Floats:
        """Rounding error of the log likelihood, in order of magnitude; (n,)."""

    def coefficients(self) -> tuple[Floats, Floats]:
        """Mean (n, q) and covariance (n, q, q) of β."""

    def moments(
        self, level: int, origin: Floats, members: Indices | None = None
    ) -> tuple[Floats, Floats]:
        """Mean and variance of a level's effects at ``x = −origin``, (q,) or (u, q); both (n, u).

        Of all its members, or of some.
        """

    def mixture(
        self, weights: Floats, origin: Floats | Sequence[Floats], groups: Indices | None = None
    ) -> Moments:
        """Moments of the intercept, of every effect and of β over weighted nodes.

        Parameters
        ----------
        weights : (m, n)
            Of sum 1 in each row: m mixtures are taken at once.
        origin : (q,), or a sequence of (q,) or (u, q)
            Where the intercept and the effects are taken, ``x = −origin``: one for all, or one for
            each level.
        groups : (g',), optional
            Which groups; all by default.
        """

    def joint(self, level: int, members: Indices) -> Joint:
        """Effects of some members of a level at x = 0 together with β, at each node."""

    def mixture_joint(self, weights: Floats, level: int, members: Indices) -> Joint:
        """The same over nodes with weights (n,) of sum 1: a single node for all of them."""

    def variance_below(self, level: int) -> Floats:
        """Variance of a new group's effect around that of a member of this level; (n,)."""

    def variance_of_row(self) -> Floats:
        """Variance of a row of weight 1 around its group; (n,)."""

    def draw_upper(self, seed: np.random.SeedSequence) -> UpperDraws:
        """Draw β, the intercept and all effects above the groups, once for each node."""

    def draw_groups(
        self,
        upper: UpperDraws,
        seed: np.random.SeedSequence,
        unit: tuple[float, Floats],
        groups: Indices | None = None,
    ) -> Floats:
        """Draw the effects of groups given all above them, once for each node; (g', n).

        They come out as ``location + scale·effect`` with ``unit = (scale, location)``.  A group's
        draws are the same whichever others are drawn.
        """

    def left_out(
        self, of: Any, level: int, units: Indices
    ) -> Iterator[tuple[slice, slice, Densities]]:
        """Yield log densities of units' rows given all others, in blocks of nodes and of units.

        A unit is what is left out: a row, or a member of a level with all rows below it.

        Parameters
        ----------
        of : Rows or what :meth:`Kernel.within` returns
            Rows, each of which is a unit; or the units' rows.
        level : int
            Of the units, where they are not rows.
        units : (u,)
            Which, ascending.
        """

    def densities_of_outermost(self, within: Any, root: Floats, beta: Floats) -> Floats:
        """Log densities of the rows of each outermost member given intercept (n,) and β (n, q).

        Effects of these, and of all below them, are integrated out; (n, u).
        """


class Kernel(Protocol):
    """What the rows say, and the priors of the intercept and of β, for one structure of groups.

    What is above a kernel lays out the posterior of the hyperparameters, and asks for the rest
    given these; it does not ask which kernel it is.
    """

    def given(self, values: Sequence[Floats]) -> Given:
        """Set the hyperparameters, in the kernel's own order, at n nodes; (n,) each."""

    def within(self, rows: Rows | None) -> Any:
        """What the rows of each group say beside their mean; of groups of one row without any."""
