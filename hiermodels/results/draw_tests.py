"""Statistics of draws that are tested against the exact posterior.

Everything that is tested is the mean of a function h of the draws whose posterior mean is known to
be 0, so that one method gives every standard error (:mod:`hiermodels.numerics.monte_carlo_error`)::

    mean          h = x − E x
    quantile      h = q − 1[x ≤ x_q]
    uniformity    h = √(2j + 1) P_j(2u − 1), j = 1, …, 4;  1[u ≤ a] − a;  1[u > 1 − a] − a

with u = F(x) the probability integral transform under the exact distribution function, which is
uniform, and P_j Legendre's polynomials (Neyman's smooth test): the first sees a shift, the second a
posterior too narrow or too wide, the third skewness, the fourth tails.  The last two see ends that
were never reached; a is so small that twenty effective draws are expected beyond it.

References
----------
Neyman (1937), Skandinavisk Aktuarietidskrift 20:149 (smooth test).
Cook, Gelman & Rubin (2006), J. Comput. Graph. Statist. 15:675 (validation of samplers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.names import QUANTILES
from hiermodels.numerics import uniformity
from hiermodels.numerics.monte_carlo_error import Means, batch_means, combine, excess
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.results.comparison import SHAPES

DIRECTIONS = {  # what a positive and a negative value say of the draws
    "mean": ("too high", "too low"),
    "sd": ("too large", "too small"),
    **dict.fromkeys(QUANTILES, ("too high", "too low")),
}
DEGREES = range(1, 5)  # of the polynomials
NEEDED = (
    ("mean", "mcmc", "mean"),
    ("mean", "mcse", "sd"),
    ("mean", "z", "sd"),
    ("sd", "mcmc", "sd"),
)
LIGHT_TAIL = 4  # the moment that must exist for a mean's z to be normal
KNOTS = 39  # at which the exact distribution function is computed, and interpolated between
INSIDE = (1e-300, 1 - 1e-16)  # probabilities whose normal score is finite
CHUNK = 256  # members of a variable at a time: what they need stays within tens of megabytes


type Columns = dict[str, Any]  # by the names of the table, each an array


def probability_transform(
    reference: ReferencePosterior, name: str, draws: xr.DataArray
) -> xr.DataArray:
    """``F(x)`` at each draw.

    F is computed at quantiles of the draws, dense in both tails, and between them its normal score
    is interpolated, which is nearly a straight line: the error is below 5e-4.
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.special import ndtr, ndtri

    values = draws.to_numpy()
    flat = values.reshape(values.shape[0] * values.shape[1], -1)
    levels = np.concatenate([[0.0], ndtr(np.linspace(-3.7, 3.7, KNOTS)), [1.0]])
    knots = np.quantile(flat, levels, axis=0)
    probabilities = reference.cdf(name, knots.reshape(len(knots), *values.shape[2:]))
    scores = ndtri(np.clip(probabilities.reshape(knots.shape), *INSIDE))
    result = np.empty_like(flat)
    for j, column in enumerate(flat.T):
        places, first = np.unique(knots[:, j], return_index=True)
        score = scores[first, j]
        if len(places) > 1:
            score = PchipInterpolator(places, score)(column)
        result[:, j] = ndtr(score)
    return draws.copy(data=result.reshape(values.shape))


def tests_of(
    reference: ReferencePosterior, name: str, draws: xr.DataArray, pit: xr.DataArray
) -> Columns:
    """Columns of the table for one variable: all statistics of its first member, and so on."""
    exact = {
        "mean": reference.mean[name].to_numpy().ravel(),
        "sd": reference.sd[name].to_numpy().ravel(),
    }
    quantiles = reference.quantile(list(QUANTILES.values()), [name])[name].to_numpy()
    exact |= {label: np.ravel(row) for label, row in zip(QUANTILES, quantiles, strict=True)}
    light = reference.moment_exists(name, LIGHT_TAIL)
    shape = (*draws.shape[:2], -1)
    x, u = draws.to_numpy().reshape(shape), pit.to_numpy().reshape(shape)
    parts = []
    for chunk in chunks(x.shape[2]):
        truth = {key: values[chunk] for key, values in exact.items()}
        parts.append(_statistics(x[..., chunk], u[..., chunk], truth, light))
    return by_member(parts)


def by_member(parts: Sequence[Mapping[str, Columns]]) -> Columns:
    """From columns for each statistic, of some members after others, to all rows of the table."""
    columns: dict[str, list[Floats]] = {name: [] for name in parts[0]["mean"]}
    for part in parts:
        for name, found in columns.items():
            found.append(np.stack([part[key][name] for key in STATISTICS], axis=1).ravel())
    return {name: np.concatenate(found) for name, found in columns.items()}


def chunks(size: int) -> Iterator[slice]:
    """Cut the members of a variable into pieces."""
    return (slice(start, start + CHUNK) for start in range(0, size, CHUNK))


def _statistics(
    x: Floats, u: Floats, exact: Mapping[str, Floats], light: bool
) -> dict[str, Columns]:
    """Every statistic of draws x (c, n, k) with transforms u: columns (k,) for each."""
    components = _components(u)
    deviation = x - exact["mean"]
    centre = batch_means(deviation)
    mean = x.mean(axis=(0, 1))
    rows = {"mean": row("mean", mean, exact["mean"], centre, centre.error, exact["sd"] ** 2)}
    if not light:
        rows["mean"]["p"] = np.full_like(mean, np.nan)
    rows["sd"] = _sd_row(x, deviation, exact["sd"])
    # Draws have a mean and an sd even where the posterior has none.
    for label, column, needed in NEEDED:
        rows[label][column] = np.where(np.isnan(exact[needed]), np.nan, rows[label][column])
    in_order = np.sort(x.reshape(-1, x.shape[2]), axis=0)
    for label, q in QUANTILES.items():
        variance = q * (1 - q)
        # Half the error of the draws as a whole: an event decorrelates no faster than that.
        above = excess(u > q, 1 - q).at_least(np.sqrt(0.5 * variance), components[0])
        width = _order_statistic(in_order, q + above.error)
        width -= _order_statistic(in_order, q - above.error)
        quantiles = _order_statistic(in_order, np.full(len(width), q))
        rows[label] = row(label, quantiles, exact[label], above, width / 2, variance)
    distance = uniformity.distance(u.reshape(-1, u.shape[2]))
    rows["uniformity"] = uniformity_row(distance, components)
    return rows


def row(
    statistic: str, values: Floats, exact: Floats, means: Means, error: Floats, variance: Any
) -> Columns:
    """Columns of a statistic whose deviation from the exact one is a mean."""
    return {
        "mcmc": values,
        "exact": exact,
        "mcse": error,
        "z": means.t,
        "p": means.p,
        "ess": means.ess(variance),
        "df": means.df,
        "direction": np.select([means.t > 0, means.t < 0], DIRECTIONS[statistic], ""),
    }


def _sd_row(x: Floats, deviation: Floats, exact: Floats) -> Columns:
    """The sd, whose error follows from that of the variance: ``se(s) = se(s²)/(2s)``."""
    squares = deviation**2 - exact**2
    means = batch_means(squares)
    found = row("sd", x.std(axis=(0, 1), ddof=1), exact, means, means.error / (2 * exact), np.nan)
    return found | {"ess": means.ess(squares.var(axis=(0, 1)))}


def uniformity_row(distance: Floats, components: Sequence[Means]) -> Columns:
    """Columns of the components of uniformity, taken together."""
    t, p = (np.stack([getattr(means, key) for means in components]) for key in ("t", "p"))
    worst = np.abs(t).argmax(axis=0)
    z = np.take_along_axis(t, worst[None], axis=0)[0]
    directions = [SHAPES[j][0 if value > 0 else 1] for j, value in zip(worst, z, strict=True)]
    return {
        "mcmc": distance,
        "exact": np.zeros(len(z)),
        "mcse": np.full(len(z), np.nan),
        "z": z,
        "p": np.array([combine(column) for column in p.T]),
        "ess": components[0].ess(np.ones(len(z))),
        "df": components[0].df,
        "direction": np.array(directions),
    }


def smooth_components(u: Floats) -> list[Means]:
    """Means of Legendre's polynomials: each 0 if u (c, n, k) is uniform."""
    from scipy.special import eval_sh_legendre

    return [batch_means(np.sqrt(2 * j + 1) * eval_sh_legendre(j, u)) for j in DEGREES]


def _components(u: Floats) -> list[Means]:
    """Components of uniformity: each of mean 0 if u (c, n, k) is uniform."""
    smooth = smooth_components(u)
    size = smooth[0].ess(np.ones(u.shape[2]))
    tail = np.clip(IN_TAIL / size, 0.0, LARGEST_TAIL)
    ends = [excess(v <= tail, tail) for v in (u, 1 - u)]
    return [*smooth, *(end.at_least(np.sqrt(tail * (1 - tail)), smooth[0]) for end in ends)]


def _order_statistic(in_order: Floats, q: Floats) -> Floats:
    """Quantile of each of some sorted columns (n, k) at its own probability q; (k,)."""
    n = len(in_order)
    place = np.clip(q, 0, 1) * (n - 1)
    low = np.minimum(place.astype(np.intp), n - 2)
    ends = np.take_along_axis(in_order, np.stack([low, low + 1]), axis=0)
    return ends[0] + (place - low) * (ends[1] - ends[0])


def other_evidence(tree: xr.DataTree) -> Iterator[str]:
    """What the sampler itself says against its draws."""
    stats = tree.children.get("sample_stats")
    divergences = int(stats["diverging"].sum()) if stats and "diverging" in stats else 0
    if divergences:
        yield (
            f"{divergences} of the draws diverged: there the sampler may have missed a part of the "
            f"posterior."
        )


STATISTICS = ("mean", "sd", *QUANTILES, "uniformity")
IN_TAIL, LARGEST_TAIL = 20, 0.05  # effective draws in a tail, and the largest to be called so
