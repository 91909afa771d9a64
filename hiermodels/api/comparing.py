"""Draws against the exact posterior, in units of Monte Carlo error.

Everything that is judged is the mean of a function h of the draws whose posterior mean is known to
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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats
from hiermodels.core.messages import short
from hiermodels.core.names import QUANTILES, SAMPLE_DIMS
from hiermodels.core.options import mapping, names
from hiermodels.data.covariates import ZERO
from hiermodels.data.design import is_number
from hiermodels.data.grouped import GroupedData
from hiermodels.data.statistics import SufficientStatistics, statistics_of
from hiermodels.errors import SpecError
from hiermodels.model.spec import Spec
from hiermodels.numerics import uniformity
from hiermodels.numerics.monte_carlo_error import Means, batch_means, combine, excess
from hiermodels.posterior.moments import of_variables
from hiermodels.posterior.reference_posterior import ReferencePosterior, flatten
from hiermodels.results.comparison import DIGITS, SHAPES, Comparison

if TYPE_CHECKING:
    pass

STATISTICS = ("mean", "sd", *QUANTILES, "uniformity")
DIRECTIONS = {  # what a positive and a negative value say of the draws
    "mean": ("too high", "too low"),
    "sd": ("too large", "too small"),
    **dict.fromkeys(QUANTILES, ("too high", "too low")),
}
DEGREES = range(1, 5)  # of the polynomials
IN_TAIL, LARGEST_TAIL = 20, 0.05  # effective draws in a tail, and the largest to be called so
NEEDED = (
    ("mean", "mcmc", "mean"),
    ("mean", "mcse", "sd"),
    ("mean", "z", "sd"),
    ("sd", "mcmc", "sd"),
)
LIGHT_TAIL = 4  # the moment that must exist for a mean's z to be normal
KNOTS = 39  # at which the exact distribution function is computed, and interpolated between
INSIDE = (1e-300, 1 - 1e-16)  # probabilities whose normal score is finite
CHUNK = 256  # units of a variable at a time: what they need stays within tens of megabytes
FEWEST_DRAWS = 32
COLUMNS = ("outcomes", "standard errors", "covariates")  # of rows, as messages name them
SAME_STATISTICS = 1e-9  # of their spread: engines add up in different orders

type _Columns = dict[str, Any]  # by the names of the table, each an array


class FitLike(Protocol):
    """What is needed of a fit here."""

    @property
    def spec(self) -> Spec:
        """What is assumed."""

    @property
    def data(self) -> GroupedData:
        """What was observed."""

    @property
    def datatree(self) -> xr.DataTree:
        """Draws, with a group ``posterior``."""

    def reference(self) -> ReferencePosterior:
        """Return the noise-free posterior."""


@checked
def compare(
    mcmc: FitLike | xr.DataTree,
    exact: FitLike | ReferencePosterior,
    alpha: float = 0.01,
    *,
    rename: Mapping[str, str] | None = None,
    var_names: Sequence[str] | str | None = None,
) -> Comparison:
    """Compare draws with the exact posterior.

    Each scalar's mean, quantiles and whole distribution function are tested against the exact
    ones, with Monte Carlo errors that allow for autocorrelation; all tests together give one
    verdict, which right draws fail with probability ``alpha``.  Sds are shown, not judged: their
    own error depends on moments that may not exist, and the uniformity sees a wrong spread.  So
    are means without a fourth moment.

    Parameters
    ----------
    mcmc : Fit or DataTree
        The draws.  A DataTree, from PyMC, Stan, NumPyro or bambi, has a group ``posterior`` with
        dimensions ``chain`` and ``draw``.
    exact : Fit or ReferencePosterior
        The exact posterior; of a Fit, its :meth:`Fit.reference`, not its draws.
    alpha : float
        Probability of a false alarm over all statistics together.
    rename : mapping of str to str, optional
        From the DataTree's names of variables and dimensions to those of this package, such as
        ``{"sd_school": "tau"}``.
    var_names : str or sequence of str, optional
        Variables to compare, in this package's names; all by default.

    Returns
    -------
    Comparison

    Raises
    ------
    SpecError
        If the draws are of another model, other data or other labels, if they lack a variable,
        or if they are too few or not finite.

    References
    ----------
    See :mod:`hiermodels.compare` and :mod:`hiermodels.numerics.monte_carlo_error`.

    Examples
    --------
    >>> import hiermodels as hm
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> hm.compare(fit, fit).passed
    True
    """
    if not (is_number(alpha) and 0 < alpha < 1):
        raise SpecError(f"alpha: expected a number between 0 and 1; found {short(alpha)}")
    names_of = mapping("rename", rename, "{'sd_school': 'tau'}")
    wanted = names("var_names", "variable", var_names) or None
    _require_sides(mcmc, exact)
    if isinstance(mcmc, xr.DataTree):
        _require_same_outcomes(mcmc, exact.data)
        tree = mcmc
    else:
        _require_same_model(mcmc.spec, exact.spec)
        _require_same_data(mcmc.data, exact.data)
        _require_kept(mcmc, wanted)
        tree = mcmc.datatree
    reference = exact if isinstance(exact, ReferencePosterior) else exact.reference()
    reference = reference.at(ZERO)  # as draws are kept
    draws = _matching_draws(tree, reference, names_of, wanted)
    pit = xr.Dataset({name: _transform(reference, str(name), draws[name]) for name in draws})
    parts = [_judge(reference, str(name), draws[name], pit[name]) for name in draws]
    labels = flatten(reference.mean[list(draws)]).index
    table = pd.DataFrame(
        {column: np.concatenate([part[column] for part in parts]) for column in parts[0]},
        pd.MultiIndex.from_product([labels, STATISTICS], names=["quantity", "statistic"]),
    )
    table.attrs["digits"] = min(DIGITS, reference.digits or DIGITS)
    lacking = reference.moments.why(of_variables(map(str, draws)))
    notes = (*reference.precision, *((lacking,) if lacking else ()))
    return Comparison(table, alpha, pit, tuple(_other_evidence(tree)), notes)


def _require_sides(mcmc: Any, exact: Any) -> None:
    """Refuse what has no draws on the one side, or no exact posterior on the other."""
    if not isinstance(mcmc, xr.DataTree) and not hasattr(mcmc, "datatree"):
        raise SpecError(
            f"mcmc: expected draws, a Fit or a DataTree; found {type(mcmc).__name__}. The exact "
            f"posterior is the second argument"
        )
    if not isinstance(exact, ReferencePosterior) and not hasattr(exact, "reference"):
        raise SpecError(
            f"exact: expected a Fit or a ReferencePosterior; found {type(exact).__name__}. The "
            f"draws are the first argument"
        )


def _require_kept(fit: FitLike, var_names: Sequence[str] | None) -> None:
    """Refuse a fit whose draws of a variable are made on demand, being too many to be kept."""
    kept = fit.datatree["posterior"].data_vars
    for name in var_names or fit.spec.variables:
        if name in fit.spec.variables and name not in kept:
            others = [other for other in fit.spec.variables if other in kept]
            raise SpecError(
                f"the draws of {name!r} were not kept, being too many. Compare the others with "
                f"var_names={others}, or fit again with fewer draws or a larger memory_budget"
            )


def _require_same_model(found: Spec, exact: Spec) -> None:
    """Refuse draws of a model with other levels, covariates or priors."""
    sides = [
        {"levels": spec.groups, "covariates": spec.covariates, "se": spec.se is not None}
        | dict(spec.priors)
        for spec in (found, exact)
    ]
    for name in {**sides[0], **sides[1]}:
        mine, theirs = (side.get(name) for side in sides)
        if mine != theirs:
            what = f"the prior of {name}" if name in found.priors else name
            raise SpecError(
                f"the draws and the exact posterior are of different models: {what} is {mine} for "
                f"the draws, and {theirs} for the exact posterior"
            )


def _require_same_data(found: GroupedData, exact: GroupedData) -> None:
    """Refuse draws given other rows, whatever their order."""
    for dim, labels in exact.coords.items():
        _require_same_labels(dim, found.coords[dim], labels)
    parents = zip(_parents(found), _parents(exact), strict=True)
    if any((mine != theirs).any() for mine, theirs in parents):
        raise SpecError(
            f"the draws and the exact posterior are of different data: the groups of "
            f"{exact.roles.groups[0]!r} that those of {exact.roles.groups[-1]!r} belong to differ"
        )
    if found.n_rows != exact.n_rows:
        raise SpecError(
            f"the draws and the exact posterior are of different data: {found.n_rows} and "
            f"{exact.n_rows} rows"
        )
    if not (found.has_rows and exact.has_rows):
        return _require_same_statistics(statistics_of(found), statistics_of(exact))
    for name, mine, theirs in zip(COLUMNS, _sorted_rows(found), _sorted_rows(exact), strict=True):
        if not np.allclose(mine, theirs, rtol=1e-12, atol=0.0):
            raise SpecError(
                f"the draws and the exact posterior are of different data: the {name} differ"
            )


def _require_same_statistics(found: SufficientStatistics, exact: SufficientStatistics) -> None:
    """Refuse draws given other groups, whatever their order, where rows are not at hand."""
    mine, theirs = (np.argsort(one.labels[-1]) for one in (found, exact))
    point, spread = exact.mean[0], np.sqrt(np.diag(exact.total[1] / exact.weight.sum()))
    pairs: dict[str, tuple[NDArray[Any], NDArray[Any], Floats | float]] = {
        "numbers of rows": (found.count[mine], exact.count[theirs], 0.0),
        "weights": (found.weight[mine], exact.weight[theirs], exact.weight[theirs]),
        "means": (found.away(point)[mine], exact.away(point)[theirs], spread),
        "scatter": (np.diag(found.scatter), np.diag(exact.scatter), np.diag(exact.total[1])),
    }
    for name, (a, b, size) in pairs.items():
        if not (np.abs(a - b) <= SAME_STATISTICS * size).all():
            raise SpecError(
                f"the draws and the exact posterior are of different data: the {name} of the "
                f"groups differ"
            )


def _parents(data: GroupedData) -> list[np.ndarray]:
    """Labels of the inner units' parents, the inner units in the order of their labels."""
    return [
        data.labels[-2 - level][parent][np.argsort(data.labels[-1 - level])]
        for level, parent in enumerate(data.parents)
    ]


def _sorted_rows(data: GroupedData) -> tuple[Floats, Floats, Floats]:
    """Outcomes, standard errors and covariates, in the order of groups and of all three."""
    places = np.zeros(len(data.y))
    if data.labels:
        places = np.argsort(np.argsort(data.labels[-1]))[data.group].astype(float)
    se = np.ones(len(data.y)) if data.se is None else data.se
    order = np.lexsort([*data.design.matrix.T, se, data.y, places])
    return data.y[order], se[order], data.design.matrix[order]


def _require_same_outcomes(tree: xr.DataTree, exact: GroupedData) -> None:
    """Refuse a DataTree whose observed data are others, where it has them by our name."""
    observed = tree.children.get("observed_data")
    name = exact.roles.outcome
    if observed is None or name not in observed:
        return
    values = np.sort(observed[name].to_numpy().ravel())
    expected = np.sort(exact.observations.observed[name])
    if not exact.has_rows and len(values) == exact.n_rows:
        return  # rows and statistics of them: nothing to compare one by one
    if values.shape != expected.shape or not np.allclose(values, expected, rtol=1e-6):
        raise SpecError(
            f"the draws and the exact posterior are of different data: {name!r} in the group "
            f"observed_data is not the outcome that the exact posterior was given"
        )


def _matching_draws(
    tree: xr.DataTree,
    reference: ReferencePosterior,
    rename: Mapping[str, str],
    var_names: Sequence[str] | None,
) -> xr.Dataset:
    """Pick the reference's variables from the draws, with its labels in its order."""
    if "posterior" not in tree.children:
        raise SpecError(
            f"the draws have no group 'posterior'; found {', '.join(tree.children) or 'none'}"
        )
    draws = _renamed(tree["posterior"].to_dataset(), rename)
    fixed = reference.spec.fixed
    _require_fixed(draws, fixed, var_names)
    free = [name for name in reference.spec.variables if name not in fixed]
    names = [name for name in free if name in (var_names or draws)]
    wanted = list(var_names or free)
    missing = [name for name in wanted if name not in draws or name not in names]
    if missing:
        raise SpecError(
            f"the draws have no variable {missing[0]!r}; expected "
            f"{', '.join(reference.spec.variables)}, found {_named(draws)}. Say with rename={{…}} "
            f"what they call it, or with var_names=[…] what to compare"
        )
    picked = draws[names]
    for dim, labels in reference.data.coords.items():
        if dim in {d for name in names for d in reference.spec.dims(name)}:
            picked = _aligned(picked, dim, labels)
    order = {name: [*SAMPLE_DIMS, *reference.spec.dims(name)] for name in names}
    for name, dims in order.items():
        if set(picked[name].dims) != set(dims):
            raise SpecError(
                f"the draws of {name!r} have dimensions {picked[name].dims}; expected {dims}. Say "
                f"with rename={{…}} what they are called"
            )
    picked = xr.Dataset({name: picked[name].transpose(*dims) for name, dims in order.items()})
    _require_usable(picked)
    return picked


def _require_fixed(
    draws: xr.Dataset, fixed: Mapping[str, float], var_names: Sequence[str] | None
) -> None:
    """Sds that are fixed are not compared; draws of them, if there are any, must be as fixed."""
    for name, value in fixed.items():
        if name in (var_names or ()):
            raise SpecError(f"var_names: {name} is fixed at {value:g}; there is nothing to compare")
        if name in draws and not np.allclose(draws[name], value, rtol=1e-6, atol=0):
            raise SpecError(f"the draws of {name} are not {value:g}, at which the model fixes it")


def _renamed(draws: xr.Dataset, rename: Mapping[str, str]) -> xr.Dataset:
    """Give variables and dimensions from elsewhere the names of this package."""
    unknown = [name for name in rename if name not in draws.variables and name not in draws.dims]
    if unknown:
        raise SpecError(
            f"rename: the draws have no variable or dimension {unknown[0]!r}; they have "
            f"{_named(draws)}"
        )
    taken = [new for old, new in rename.items() if new in draws.variables and new not in rename]
    if taken:
        raise SpecError(f"rename: the draws have a variable {taken[0]!r} already; rename it, too")
    return draws.rename(rename)


def _named(draws: xr.Dataset) -> str:
    """Write out variables and dimensions."""
    dims = [str(dim) for dim in draws.dims if dim not in SAMPLE_DIMS]
    return ", ".join(map(str, draws.data_vars)) + (f" on {', '.join(dims)}" if dims else "")


def _aligned(draws: xr.Dataset, dim: str, labels: Any) -> xr.Dataset:
    """Put the units of a dimension into the reference's order, by their labels."""
    if dim not in draws.dims:
        raise SpecError(
            f"the draws have no dimension {dim!r}; found {_named(draws)}. Say with rename={{…}} "
            f"what it is called"
        )
    if dim not in draws.coords:
        raise SpecError(
            f"the draws have no labels on dimension {dim!r}, so that it is not known which unit "
            f"is which. Add them: posterior.assign_coords({dim}=[…])"
        )
    _require_same_labels(dim, draws[dim].values, labels)
    return draws.sel({dim: labels})


def _require_same_labels(dim: str, found: Any, exact: Any) -> None:
    if len(found) != len(exact) or set(found.tolist()) != set(exact.tolist()):
        raise SpecError(
            f"the draws and the exact posterior have different {dim!r} labels: they are not of "
            f"the same data. The draws have {found[:3].tolist()} …, the exact posterior "
            f"{exact[:3].tolist()} …"
        )


def _require_usable(draws: xr.Dataset) -> None:
    """Refuse draws that are too few to judge, or not finite."""
    size = draws.sizes["chain"] * draws.sizes["draw"]
    if size < FEWEST_DRAWS:
        raise SpecError(f"expected at least {FEWEST_DRAWS} draws in all chains; found {size}")
    for name, values in draws.items():
        if not np.isfinite(values.to_numpy()).all():
            raise SpecError(f"the draws of {name!r} are not all finite numbers")


def _transform(reference: ReferencePosterior, name: str, draws: xr.DataArray) -> xr.DataArray:
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
    heights = reference.cdf(name, knots if reference.spec.dims(name) else knots[:, 0])
    scores = ndtri(np.clip(heights.reshape(knots.shape), *INSIDE))
    result = np.empty_like(flat)
    for j, column in enumerate(flat.T):
        places, first = np.unique(knots[:, j], return_index=True)
        score = scores[first, j]
        if len(places) > 1:
            score = PchipInterpolator(places, score)(column)
        result[:, j] = ndtr(score)
    return draws.copy(data=result.reshape(values.shape))


def _judge(
    reference: ReferencePosterior, name: str, draws: xr.DataArray, pit: xr.DataArray
) -> _Columns:
    """Columns of the table for one variable: all statistics of its first unit, and so on."""
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
    for chunk in _chunks(x.shape[2]):
        truth = {key: values[chunk] for key, values in exact.items()}
        rows = _statistics(x[..., chunk], u[..., chunk], truth, light)
        by_unit = {c: np.stack([rows[key][c] for key in STATISTICS], axis=1) for c in rows["mean"]}
        parts.append({column: values.ravel() for column, values in by_unit.items()})
    return {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}


def _chunks(size: int) -> Iterator[slice]:
    """Cut the units of a variable into pieces."""
    return (slice(start, start + CHUNK) for start in range(0, size, CHUNK))


def _statistics(
    x: Floats, u: Floats, exact: Mapping[str, Floats], light: bool
) -> dict[str, _Columns]:
    """Every statistic of draws x (c, n, k) with transforms u: columns (k,) for each."""
    components = _components(u)
    away = x - exact["mean"]
    centre = batch_means(away)
    mean = x.mean(axis=(0, 1))
    rows = {"mean": _row("mean", mean, exact["mean"], centre, centre.error, exact["sd"] ** 2)}
    if not light:
        rows["mean"]["p"] = np.full_like(mean, np.nan)
    rows["sd"] = _sd_row(x, away, exact["sd"])
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
        found = _order_statistic(in_order, np.full(len(width), q))
        rows[label] = _row(label, found, exact[label], above, width / 2, variance)
    rows["uniformity"] = _uniformity_row(u, components)
    return rows


def _row(
    statistic: str, found: Floats, exact: Floats, means: Means, error: Floats, variance: Any
) -> _Columns:
    """Columns of a statistic whose deviation from the exact one is a mean."""
    return {
        "mcmc": found,
        "exact": exact,
        "mcse": error,
        "z": means.t,
        "p": means.p,
        "ess": means.ess(variance),
        "df": means.freedom,
        "direction": np.select([means.t > 0, means.t < 0], DIRECTIONS[statistic], ""),
    }


def _sd_row(x: Floats, away: Floats, exact: Floats) -> _Columns:
    """The sd, whose error follows from that of the variance: ``se(s) = se(s²)/(2s)``."""
    squares = away**2 - exact**2
    means = batch_means(squares)
    row = _row("sd", x.std(axis=(0, 1), ddof=1), exact, means, means.error / (2 * exact), np.nan)
    return row | {"ess": means.ess(squares.var(axis=(0, 1)))}


def _uniformity_row(u: Floats, components: Sequence[Means]) -> _Columns:
    """Columns of the components of uniformity, taken together."""
    t, p = (np.stack([getattr(means, key) for means in components]) for key in ("t", "p"))
    worst = np.abs(t).argmax(axis=0)
    z = np.take_along_axis(t, worst[None], axis=0)[0]
    directions = [SHAPES[j][0 if value > 0 else 1] for j, value in zip(worst, z, strict=True)]
    return {
        "mcmc": uniformity.distance(u.reshape(-1, u.shape[2])),
        "exact": np.zeros(len(z)),
        "mcse": np.full(len(z), np.nan),
        "z": z,
        "p": np.array([combine(column) for column in p.T]),
        "ess": components[0].ess(np.ones(len(z))),
        "df": components[0].freedom,
        "direction": np.array(directions),
    }


def _components(u: Floats) -> list[Means]:
    """Components of uniformity: each of mean 0 if u (c, n, k) is uniform."""
    from scipy.special import eval_sh_legendre

    smooth = [batch_means(np.sqrt(2 * j + 1) * eval_sh_legendre(j, u)) for j in DEGREES]
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


def _other_evidence(tree: xr.DataTree) -> Iterator[str]:
    """What the sampler itself says against its draws."""
    stats = tree.children.get("sample_stats")
    divergences = int(stats["diverging"].sum()) if stats and "diverging" in stats else 0
    if divergences:
        yield (
            f"{divergences} of the draws diverged: there the sampler may have missed a part of the "
            f"posterior."
        )
