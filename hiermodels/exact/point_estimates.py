"""Estimates of the sds as single numbers: maximum likelihood, restricted or not, and moments.

The priors play no part here, so that the numbers are those of lme4 and of metafor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.profile_likelihood import ProfileLikelihood, maximum
from hiermodels.exact.study_estimators import by_moments
from hiermodels.posterior.estimation import METHODS, MOMENTS, PointEstimate, known_method
from hiermodels.posterior.tables import shown

LOOKS = 16  # places at which the likelihood's slopes are compared
SAME = 1e-7  # share of the slopes below which the likelihood does not change in a direction


@one_blas_thread()
def estimate_sds(marginal: Marginal, method: object = "reml") -> PointEstimate:
    """Estimate the sds; their priors, and those of the coefficients, play no part.

    Raises
    ------
    SpecError
        If there is no such method, or it is not for this model.
    """
    method = known_method(method)
    fixed = {name: float(value) for name, value in marginal.spec.fixed.items()}
    if not marginal.free:
        note = ", ".join(f"{name} = {shown(value)}" for name, value in fixed.items())
        points = np.array([[fixed[name] for name in marginal.names]])
        return PointEstimate(fixed, points, notes=(f"{note}: fixed, not estimated",))
    if method in MOMENTS:
        return by_moments(marginal, method)
    return _by_likelihood(ProfileLikelihood(marginal, restricted=method == "reml"), METHODS[method])


def _by_likelihood(likelihood: ProfileLikelihood, method: str) -> PointEstimate:
    """The highest place of a likelihood, or what of it is determined."""
    names, marginal = likelihood.names, likelihood.marginal
    free = [names[j] for j in marginal.free]
    rows, middle = _determined(likelihood)
    pivots = tuple(int(np.flatnonzero(row)[-1]) for row in rows)
    variances = maximum(likelihood, pivots) if len(pivots) else np.zeros(len(names))
    if variances is None:
        points = np.stack([middle, middle * np.arange(2, 2 + len(names))])
        note = (
            f"{method}: the likelihood has no maximum, it rises as sds go to 0 or to infinity; "
            f"no estimate of {' and '.join(free)}"
        )
        sds = dict.fromkeys(names, float("nan")) | marginal.spec.fixed
        return PointEstimate(sds, _in_unit(marginal, points), notes=(note,))
    alone = [j for j, row in zip(pivots, rows, strict=True) if np.count_nonzero(row) == 1]
    scale = marginal.data.scale
    sds = {
        name: scale * float(np.sqrt(variances[j])) if j in alone else float("nan")
        for j, name in enumerate(names)
    }
    sds |= marginal.spec.fixed
    if len(alone) == len(free):
        return PointEstimate(sds, _in_unit(marginal, variances[None]))
    sums = {
        _sum_of(names, row): scale**2 * float(variances[j])
        for j, row in zip(pivots, rows, strict=True)
        if j not in alone
    }
    points = np.stack([variances, _elsewhere(variances, rows, pivots, middle)])
    points[0] = np.where(_in(rows), variances, middle)
    return PointEstimate(sds, _in_unit(marginal, points), sums, _undetermined(sds, sums))


def _in(rows: Floats) -> NDArray[np.bool_]:
    """Which variances have a part in what is determined; (d,)."""
    return np.asarray((rows != 0).any(axis=0))


def _in_unit(marginal: Marginal, columns: Floats) -> Floats:
    sds = marginal.data.scale * np.sqrt(columns)
    for j, value in marginal.fixed.items():
        sds[:, j] = value
    return sds


def _undetermined(sds: dict[str, float], sums: dict[str, float]) -> tuple[str, ...]:
    """Say what is not determined, and what is in its place."""
    missing = [name for name, sd in sds.items() if np.isnan(sd)]
    if not sums:
        return (f"the data say nothing of {' and '.join(missing)}: no estimate",)
    given = ", ".join(f"{name} = {shown(value)}" for name, value in sums.items())
    return (
        f"of {' and '.join(missing)} the data determine only {given}: the likelihood is the same "
        f"however it is split. NaN where the split is needed",
    )


def _sum_of(names: tuple[str, ...], row: Floats) -> str:
    """Write a sum of variances, as ``tau² + 0.5 sigma²``."""
    terms = [
        f"{name}²" if part == 1 else f"{shown(part)} {name}²"
        for name, part in zip(names, row, strict=True)
        if part
    ]
    return " + ".join(terms)


def _determined(likelihood: ProfileLikelihood) -> tuple[Floats, Floats]:
    """Combinations of the variances that the likelihood depends on, and a place in its midst.

    The likelihood does not change in a direction δ of the variances if ``Σ δ_j V_j`` is 0
    between contrasts of the rows, V_j being what variance j adds to their covariance matrix.
    Then its slopes at any places, as rows of a matrix, have a null vector δ.

    Returns
    -------
    rows : (r, d)
        In reduced echelon form, of which each has a 1 at a variance, the last of those in it,
        that no other row has.
    middle : (d,)
    """
    ranges, free = likelihood.marginal.informed, list(likelihood.marginal.free)
    middle = np.exp(ranges.mean(axis=1))
    part = np.random.default_rng(1).uniform(0.3, 0.9, (LOOKS, len(ranges)))
    places = np.exp(ranges[:, 0] + part * np.diff(ranges, axis=1)[:, 0])
    for j, value in likelihood.fixed.items():
        middle[j] = places[:, j] = value
    slopes = likelihood.slopes(places)
    sizes = np.abs(slopes * places[:, free]).max(axis=1, keepdims=True)
    n_rows = likelihood.tree.n_rows
    slopes = np.where(sizes > SAME * SAME * n_rows, slopes / np.where(sizes > 0, sizes, 1), 0.0)
    _, singular, vectors = np.linalg.svd(slopes * middle[free])
    some = singular > SAME * max(singular[0], SAME)
    rows = np.zeros((int(some.sum()), len(ranges)))
    rows[:, free] = _echelon(vectors[: len(rows)] / middle[free])
    return rows, middle


def _echelon(rows: Floats) -> Floats:
    """Reduced echelon form from the last column on; entries that are rounding errors are 0."""
    rows = rows.copy()
    free = list(range(len(rows)))
    done = []
    for column in reversed(range(rows.shape[1])):
        if not free:
            break
        size = np.abs(rows[:, column]) / np.abs(rows).max(axis=1)
        best = max(free, key=lambda i: size[i])
        if size[best] < np.sqrt(SAME):
            continue
        rows[best] /= rows[best, column]
        for i in range(len(rows)):
            if i != best:
                rows[i] -= rows[i, column] * rows[best]
        free.remove(best)
        done.append(best)
    rows = rows[done]
    whole = np.round(rows)
    rows = np.where(np.abs(rows - whole) < np.sqrt(SAME), whole, rows)
    return np.where(np.abs(rows) < np.sqrt(SAME), 0.0, rows)


def _elsewhere(variances: Floats, rows: Floats, pivots: tuple[int, ...], middle: Floats) -> Floats:
    """Other variances with the same sums: half of each is given to the others in it."""
    other = variances.copy()
    for row, pivot in zip(rows, pivots, strict=True):
        others = [j for j in np.flatnonzero(row) if j != pivot]
        for j in others:
            other[j] = 0.5 * variances[pivot] / len(others) / row[j]
            other[pivot] -= row[j] * other[j]
    return np.where(_in(rows), other, 2 * middle)
