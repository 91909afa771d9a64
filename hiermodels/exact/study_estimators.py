"""Estimates of one variance between studies with known errors, from moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import SpecError
from hiermodels.exact.marginal import Marginal
from hiermodels.posterior.estimation import LIKELIHOOD, METHODS, PointEstimate, for_studies_alone
from hiermodels.posterior.tables import shown

MAX_STEPS = 200
WITHIN = 1e-12  # share of the covariates' sums of squares that is rounding error


@dataclass(frozen=True)
class Studies:
    """Estimates y (k,) with known variances v (k,), and columns X (k, p).

    With weights W = diag(w), ``P = W − WX(X'WX)⁻¹X'W``.
    """

    y: Floats
    v: Floats
    x: Floats

    @property
    def df(self) -> int:
        """``k − p``."""
        return self.x.shape[0] - self.x.shape[1]

    def weighted(self, w: Floats) -> tuple[Floats, Floats]:
        """``Py`` (k,) and ``(X'WX)⁻¹`` (p, p)."""
        inverse = np.linalg.inv(self.x.T @ (w[:, None] * self.x))
        beta = inverse @ (self.x.T @ (w * self.y))
        return w * (self.y - self.x @ beta), inverse

    def square(self, w: Floats) -> float:
        """``y'Py``."""
        return float(self.y @ self.weighted(w)[0])

    def trace(self, w: Floats, u: Floats) -> float:
        """``tr(P diag(u)) = Σ wu − tr((X'WX)⁻¹ X'W diag(u) WX)``."""
        _, inverse = self.weighted(w)
        return float((w * u).sum() - np.sum(inverse * (self.x.T @ ((w**2 * u)[:, None] * self.x))))


def hedges(studies: Studies) -> float:
    """``τ² = (y'Py − tr(PV))/(k − p)`` with weights of 1.

    Hedges (1983), Psychological Bulletin 93:388; with covariates as in Raudenbush (2009), in
    Cooper et al., The Handbook of Research Synthesis, 2nd ed., p. 295.
    """
    ones = np.ones_like(studies.v)
    return (studies.square(ones) - studies.trace(ones, studies.v)) / studies.df


def dersimonian_laird(studies: Studies) -> float:
    """``τ² = (y'Py − (k − p))/tr(P)`` with weights ``1/v``.

    DerSimonian & Laird (1986), Controlled Clinical Trials 7:177; with covariates as in Raudenbush
    (2009).
    """
    w = 1 / studies.v
    return (studies.square(w) - studies.df) / studies.trace(w, np.ones_like(w))


def sidik_jonkman(studies: Studies) -> float:
    """``τ² = τ₀² y'Py/(k − p)`` with weights ``1/(v + τ₀²)`` and ``τ₀² = Σ(y − ȳ)²/k``.

    Sidik & Jonkman (2005), JRSS C 54:367.
    """
    first = float(np.var(studies.y))
    return first * studies.square(1 / (studies.v + first)) / studies.df


def paule_mandel(studies: Studies) -> float:
    """τ² at which ``y'Py = k − p`` with weights ``1/(v + τ²)``; negative if it is less at τ² = 0.

    Also the empirical Bayes estimate of Morris (1983), JASA 78:47, which solves the same equation.
    ``y'Py`` falls in τ², with the slope ``−|Py|²``, and is convex: Newton's steps from 0 stay
    below the solution.

    Paule & Mandel (1982), J. Res. Natl. Bur. Stand. 87:377.
    """
    tau2 = 0.0
    for _ in range(MAX_STEPS):
        shares, _ = studies.weighted(1 / (studies.v + tau2))
        step = float((studies.y @ shares - studies.df) / (shares @ shares))
        tau2 += step
        if step <= 1e-15 * tau2:
            break
    return tau2


FORMULAS: dict[str, Callable[[Studies], float]] = {
    "dl": dersimonian_laird,
    "pm": paule_mandel,
    "he": hedges,
    "eb": paule_mandel,
    "sj": sidik_jonkman,
}


def by_moments(marginal: Marginal, method: str) -> PointEstimate:
    """An estimate of τ² from the groups' estimates and their known variances."""
    spec, tree, scale = marginal.spec, marginal.data.tree, marginal.data.scale
    if not spec.se or len(spec.groups) != 1:
        raise for_studies_alone(method)
    name = f"method {method!r} ({METHODS[method]})"
    within = np.diag(tree.scatter)[:-1]
    if (within > WITHIN * tree.weight.sum()).any():
        raise SpecError(
            f"{name} takes one estimate of each {spec.groups[0]}, and covariates differ between "
            f"rows of one {spec.groups[0]}; use {' or '.join(map(repr, LIKELIHOOD))}"
        )
    x = np.hstack([np.ones((tree.n_groups, int(spec.has_intercept))), tree.mean[:, :-1]])
    studies = Studies(tree.mean[:, -1], 1 / tree.weight, x)
    if studies.df < 1:
        raise SpecError(
            f"{name} needs more {spec.groups[0]} groups than coefficients; there are "
            f"{x.shape[0]}, and {x.shape[1]} coefficients"
        )
    tau2 = FORMULAS[method](studies)
    sds = {"tau": scale * float(np.sqrt(max(tau2, 0.0)))}
    notes = (f"tau: the estimate of tau² is {shown(scale**2 * tau2)}, so 0",) if tau2 < 0 else ()
    if tau2 < 0 and FORMULAS[method] is paule_mandel:
        notes = ("tau: no tau² above 0 solves the equation of the estimate, so 0",)
    return PointEstimate(sds, np.array([[sds["tau"]]]), notes=notes)
