"""Estimates of groups with several effects, or of many levels, from covariances as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.messages import listed
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.errors import SpecError
from hiermodels.exact.block_data import Layout
from hiermodels.exact.blocks.contrasts import coefficient_rank
from hiermodels.exact.blocks.likelihood import LikelihoodMaximum, maximize, undetermined
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.moments import conditionals
from hiermodels.exact.kernels.blocks.upward import evaluate, said_of_groups
from hiermodels.model.level import INTERCEPT
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec
from hiermodels.posterior.estimation import ALIASED, PlugIn, PointEstimate, likelihood_method

DETERMINED = 1e-8  # how near a combination has to be to those that a group's rows determine


@one_blas_thread()
def plug_in_blocks(spec: Spec, posterior: BlockPosterior, method: object, place: Place) -> PlugIn:
    """Estimate sds and correlations, and all effects given these; coefficients are flat.

    Raises
    ------
    SpecError
        If the data do not tell the coefficients apart, or the method is not for this model.
    """
    method = likelihood_method(method)
    _require_possible(posterior, spec)
    model = posterior.marginal.residual
    has_rows = isinstance(model.sigma, Fixed) or model.residual_df > 0
    found = maximize(model, restricted=method == "reml") if has_rows else None
    sds = _sds(spec, posterior.model, found, undetermined(model))
    notes = sds.as_if_known(method)
    here = _Given(spec, posterior, place, found if not np.isnan(sds.points).any() else None)
    levels = list(enumerate(spec.levels))
    coefficients, ses = here.coefficients()
    return PlugIn(
        sds,
        method,
        {level.effect: here.effects(number) for number, level in levels},
        {level.effect: here.weights(number) for number, level in levels},
        coefficients,
        ses,
        notes,
        notes,
        ("raw: by the group's own rows, other coefficients as in eb",),
    )


def _require_possible(posterior: BlockPosterior, spec: Spec) -> None:
    """Raise SpecError where coefficients need their priors, or sds of correlated effects are."""
    blocks, model = posterior.model.blocks, posterior.model
    if coefficient_rank(blocks) < blocks.n_coefficients:
        raise SpecError(ALIASED)
    fixed = [
        model.sd_name(i)
        for i, (level, _, prior) in enumerate(model.sds)
        if isinstance(prior, Fixed) and model.levels[level].n_correlations
    ]
    if fixed:
        raise SpecError(
            f"estimates: {listed(fixed)} is fixed, and its effects are correlated with others: "
            f"there is no estimate of a covariance of which a part is fixed. Leave the prior out, "
            f"or see .summary() for the posterior"
        )


def _sds(
    spec: Spec, model: BlockModel, found: LikelihoodMaximum | None, lacks: Flags
) -> PointEstimate:
    """Sds, correlations and σ, by name; nan where they are not determined."""
    layout = Layout(spec)
    names = [*(name for level in spec.levels for name in level.parameters)]
    names += spec.residual_sds
    if found is None:
        return PointEstimate.nowhere(names, spec.fixed)
    estimates: dict[str, float] = {}
    for number, level in enumerate(spec.levels):
        rows = found.factors[number][layout.effects(number)][..., 0] * found.sigma
        sds = np.sqrt((rows**2).sum(axis=1))
        own = np.where(lacks[layout.sds(number)], np.nan, sds)
        estimates |= dict(zip(level.sds, own.tolist(), strict=True))
        estimates |= _correlations(level.pairs, str(level.correlation), rows, own)
    if spec.has_sigma:
        values = np.where(lacks[len(model.sds) :], np.nan, found.residual_sds).tolist()
        by_name = dict(zip((*model.names, model.sigma_name)[len(model.sds) :], values, strict=True))
        estimates |= {name: by_name[name] for name in spec.residual_sds}
    points = np.array([list(estimates.values())])
    if not lacks.any():
        return PointEstimate(estimates, np.where(np.isnan(points), 0.0, points))
    names = [name for name, value in estimates.items() if np.isnan(value)]
    note = f"the likelihood does not change along some {' and '.join(names)}: no estimate of these"
    return PointEstimate(estimates, np.full_like(points, np.nan), notes=(note,))


def _correlations(pairs: tuple[str, ...], name: str, rows: Floats, sds: Floats) -> dict[str, float]:
    """Correlations of effects with covariance ``rows rows'``; nan where an sd is 0, or unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = rows @ rows.T / np.outer(sds, sds)
    below = matrix[np.tril_indices(len(sds), -1)].clip(-1.0, 1.0).tolist()
    several = {f"{name}[{pair}]": value for pair, value in zip(pairs, below, strict=False)}
    return several if len(pairs) != 1 else {name: below[0]}


@dataclass(frozen=True, eq=False)
class _Given:
    """Effects and coefficients given the covariances.

    Attributes
    ----------
    spec : Spec
    posterior : BlockPosterior
    place : Place
    found : LikelihoodMaximum or None
        None where there are no estimates.
    """

    spec: Spec
    posterior: BlockPosterior
    place: Place
    found: LikelihoodMaximum | None

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.spec)

    @property
    def blocks(self) -> Blocks:
        """Of the outcome less ``x'anchor``."""
        return self.found.blocks if self.found else self.posterior.marginal.residual.blocks

    @cached_property
    def factors(self) -> list[Floats]:
        """Λ of each level, (p, p, 1), 0 where there are no estimates."""
        p, levels = self.blocks.p, len(self.blocks.sizes)
        return self.found.factors if self.found else [np.zeros((p, p, 1))] * levels

    def coefficients(self) -> tuple[Floats, Floats]:
        """Intercept and coefficients by generalised least squares, and their standard errors."""
        spec, layout = self.spec, self.layout
        row = np.eye(len(layout.coefficients))
        rows = [*row[[layout.intercept] if spec.has_intercept else []], *row[layout.beta]]
        if spec.has_intercept:
            rows[0] = rows[0].copy()
            rows[0][layout.beta] += self.place.of(ROOT)
        if self.found is None:
            return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        table, root = np.array(rows).reshape(len(rows), len(row)), self.found.root
        anchor = table[:, len(row) - self.blocks.q :] @ self.posterior.marginal.anchor
        variance = np.einsum("rc,cd,rd->r", table, root.covariance[..., 0], table)
        return table @ root.mean[:, 0] + anchor, self.found.sigma * np.sqrt(variance)

    def effects(self, level: int) -> dict[str, Floats]:
        """Columns of the level's table, for each group its effects: (u,) or (u·e,)."""
        z, x = self._combinations(level)
        pooled = self._pooled(z, x)
        missing = np.full(pooled.shape, np.nan)
        raw, eb = (missing, missing), (missing, missing)
        if self.found is not None:
            raw, eb = self._raw(level, z, x), self._moments(level, z, x)
        columns = {"raw": raw[0], "raw_se": raw[1], "pooled": pooled, "eb": eb[0], "eb_sd": eb[1]}
        return {name: values.ravel() for name, values in columns.items()}

    def weights(self, level: int) -> dict[str, Floats]:
        """``B = 1/(1 + R²Λ²)`` at the estimates and its posterior mean, of intercepts alone.

        A group whose rows are correlated with those of others follows these too: it has no B.
        """
        is_turned = self.blocks.turned is not None and level == len(self.blocks.parents)
        if self.blocks.p > 1 or self.spec.has_slopes or is_turned:
            return {}
        size, posterior = self.blocks.sizes[level], self.posterior
        own = np.full(size, np.nan)
        if self.found:
            own = _shrinkage(self.blocks, self.factors, level)[:, 0]
        return {"shrinkage_eb": own, "shrinkage": mean_shrinkage(posterior, level)}

    def _combinations(self, level: int) -> tuple[Floats, Floats]:
        """Each group's effects as combinations of θ and β: z (u, e, p) and x (u, e, q)."""
        layout, own = self.layout, self.spec.levels[level]
        u, e = self.blocks.sizes[level], len(own.terms)
        z, x = np.zeros((u, e, self.blocks.p)), np.zeros((u, e, self.blocks.q))
        z[:, np.arange(e), layout.effects(level)] = 1.0
        if INTERCEPT in own.terms:
            at = np.atleast_2d(self.place.of(level))
            shown_at = np.broadcast_to(at, (u, at.shape[-1]))
            j = own.terms.index(INTERCEPT)
            z[:, j], x[:, j] = layout.split(shown_at)
        return z, x

    def _pooled(self, z: Floats, x: Floats) -> Floats:
        """The same of the population where nothing varies; (u, e)."""
        none = [np.zeros_like(factor) for factor in self.factors]
        root = evaluate(self.blocks, none)
        rows = np.concatenate([z[..., self.blocks.fixed], x], axis=-1)
        return np.asarray(rows @ root.mean[:, 0] + x @ self.posterior.marginal.anchor)

    def _moments(self, level: int, z: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Means and sds given the covariances; (u, e) each."""
        assert self.found is not None
        root, q, sigma2 = self.found.root, self.blocks.q, self.found.sigma**2
        mean, variance = np.empty(z.shape[:2]), np.empty(z.shape[:2])
        for _, own, members, given in conditionals(self.blocks, self.factors):
            if own != level:
                continue
            every = np.einsum("uep,pcu->uec", z[members], given.row[..., 0])
            row, constant = every[..., :-1], every[..., -1]
            row[..., row.shape[-1] - q :] += x[members]
            mean[members] = constant + row @ root.mean[:, 0]
            spread = np.einsum("uec,cd,ued->ue", row, root.covariance[..., 0], row)
            noise = np.einsum("uep,pqu,ueq->ue", z[members], given.own[..., 0], z[members])
            variance[members] = sigma2 * (spread + noise)
        return mean + x @ self.posterior.marginal.anchor, np.sqrt(variance)

    def _raw(self, level: int, z: Floats, x: Floats) -> tuple[Floats, Floats]:
        """By least squares of what the rows below each group say of what varies at this level.

        ``D_y − D_x β = R θ + N(0, σ² I)``; β and what does not vary are as in eb.  nan where the
        rows do not determine a combination.
        """
        assert self.found is not None
        p, own = self.blocks.p, self.layout.effects(level)
        said = np.moveaxis(said_of_groups(self.blocks, self.factors, level)[..., 0], 2, 0)
        unit = np.broadcast_to(np.eye(p), (len(said), p, p))
        theta = self._moments(level, unit, np.zeros((len(said), p, self.blocks.q)))[0]
        beta = self.found.root.mean[len(self.found.root.mean) - self.blocks.q :, 0]
        left = said[..., -1] - said[..., p:-1] @ beta
        held = np.delete(np.arange(p), own)
        left -= np.einsum("upj,uj->up", said[..., held], theta[:, held])
        inverse, share = _inverse(said[..., own])
        theta[:, own] = np.einsum("uip,up->ui", inverse, left)
        value = np.einsum("uep,up->ue", z, theta) + x @ (beta + self.posterior.marginal.anchor)
        rows = z[..., own] @ inverse
        error = self.found.sigma * np.sqrt((rows**2).sum(axis=-1))
        away = np.abs(z[..., own] @ share - z[..., own]).max(axis=-1)
        known = away < DETERMINED * np.abs(z[..., own]).max(axis=-1)
        return np.where(known, value, np.nan), np.where(known, error, np.nan)


def mean_shrinkage(posterior: BlockPosterior, level: int) -> Floats:
    """Posterior mean of the weight ``B = 1/(1 + R²Λ²)`` of each group's parent; (u,)."""
    coordinates, values = posterior.marginal.coordinates, posterior.values
    blocks, factors = coordinates.blocks(values), coordinates.factors(values)
    size = blocks.sizes[level]
    total, step = np.zeros(size), max(1, (1 << 20) // size)
    for first in range(0, factors[0].shape[-1], step):
        part = slice(first, first + step)
        shares = _shrinkage(blocks.at(part), [factor[..., part] for factor in factors], level)
        total += shares @ posterior.lattice.weights[part]
    return total


def _shrinkage(blocks: Blocks, factors: list[Floats], level: int) -> Floats:
    """B of each group at nodes; (u, n)."""
    r = said_of_groups(blocks, factors, level)[0, 0]
    return 1 / (1 + (r * factors[level][0, 0]) ** 2)


def _inverse(r: Floats) -> tuple[Floats, Floats]:
    """Pseudo-inverses R⁺ (u, e, p) of R (u, p, e), and ``R⁺ R`` (u, e, e)."""
    size = np.sqrt((r**2).sum(axis=1, keepdims=True))
    size = np.where(size > 0, size, 1.0)
    inverse = np.linalg.pinv(r / size, rcond=1e-10) / size.swapaxes(1, 2)
    return inverse, inverse @ r
