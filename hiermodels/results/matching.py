"""Whether draws and an exact posterior are of one model and the same data, and side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.data.statistics import SufficientStatistics, with_totals
from hiermodels.data.strata import strata_of
from hiermodels.data.totals import in_one_unit
from hiermodels.errors import SpecError
from hiermodels.families.normal import STRATA
from hiermodels.model.nests import describe_groups
from hiermodels.model.spec import Spec
from hiermodels.posterior.coordinates import coords_of
from hiermodels.posterior.engine import Prepared
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.results.foreign_draws import in_shape

FEWEST_DRAWS = 32
COLUMNS = (
    "outcomes",
    "standard errors",
    "covariates",
    "trials, exposures, offsets, weights or strata",
    "covariances of errors",
)  # of rows
SAME_STATISTICS = 1e-9  # of their spread: engines add up in different orders


class FitLike(Prepared, Protocol):
    """What is needed of a fit here."""

    @property
    def posterior(self) -> Posterior:
        """The record."""

    @property
    def datatree(self) -> xr.DataTree:
        """Draws, with a group ``posterior``."""

    def reference(self) -> ReferencePosterior:
        """Return the noise-free posterior."""


def require_sides(mcmc: Any, exact: Any) -> None:
    """Raise SpecError if there are no draws on the one side, or no exact posterior on the other."""
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


def require_kept(fit: FitLike, var_names: Sequence[str] | None) -> None:
    """Raise SpecError if draws of a variable are made on demand, being too many to be kept."""
    kept = fit.datatree["posterior"].data_vars
    for name in var_names or fit.spec.distinct_variables:
        if name in fit.spec.variables and name not in kept:
            others = [other for other in fit.spec.distinct_variables if other in kept]
            again = ", or fit again with fewer draws or a larger memory_budget"
            raise SpecError(
                f"the draws of {name!r} were not kept, being too many. Compare the others with "
                f"var_names={others}{'' if fit.spec.is_crossed else again}"
            )


def require_same_model(mcmc: Spec, exact: Spec) -> None:
    """Raise SpecError if the draws are of a model with other levels, covariates or priors."""
    sides = [
        {
            "levels": describe_groups(spec.groups, spec.nesting) if spec.nesting else spec.groups,
            "covariates": spec.covariates,
            "se": spec.has_known_errors,
            "correlation of errors": spec.sampling,
            "weights": spec.columns.get("weights"),
            "residual_by": spec.columns.get(STRATA),
        }
        | {"what varies": [(own.terms, own.varying.correlated) for own in spec.levels]}
        | {"family": spec.family, **spec.priors}
        for spec in (mcmc, exact)
    ]
    for name in {**sides[0], **sides[1]}:
        mine, theirs = (side.get(name) for side in sides)
        if mine != theirs:
            what = f"the prior of {name}" if name in mcmc.priors else name
            raise SpecError(
                f"the draws and the exact posterior are of different models: {what} is {mine} for "
                f"the draws, and {theirs} for the exact posterior"
            )


def require_same_data(mcmc: GroupedData, exact: GroupedData) -> None:
    """Raise SpecError if the draws are given other rows, whatever their order."""
    for dim, labels in exact.coords.items():
        _require_same_labels(dim, mcmc.coords[dim], labels)
    parents = zip(_parents(mcmc), _parents(exact), strict=True)
    if any((mine != theirs).any() for mine, theirs in parents):
        raise SpecError(
            f"the draws and the exact posterior are of different data: the groups of "
            f"{exact.roles.groups[0]!r} that those of {exact.roles.groups[-1]!r} belong to differ"
        )
    if mcmc.n_rows != exact.n_rows:
        raise SpecError(
            f"the draws and the exact posterior are of different data: {mcmc.n_rows} and "
            f"{exact.n_rows} rows"
        )
    if not (mcmc.has_rows and exact.has_rows):
        return _require_same_statistics(with_totals(mcmc), with_totals(exact))
    for name, mine, theirs in zip(COLUMNS, _sorted_rows(mcmc), _sorted_rows(exact), strict=True):
        if not np.allclose(mine, theirs, rtol=1e-12, atol=0.0):
            raise SpecError(
                f"the draws and the exact posterior are of different data: the {name} differ"
            )


def _require_same_statistics(mcmc: SufficientStatistics, exact: SufficientStatistics) -> None:
    """Raise SpecError if the draws are given other groups, where rows are not at hand."""
    mine, theirs = (np.argsort(one.labels[-1]) for one in (mcmc, exact))
    point, spread = exact.mean[0], np.sqrt(np.diag(exact.total[1] / exact.weight.sum()))
    pairs: dict[str, tuple[NDArray[Any], NDArray[Any], Floats | float]] = {
        "numbers of rows": (mcmc.count[mine], exact.count[theirs], 0.0),
        "weights": (mcmc.weight[mine], exact.weight[theirs], exact.weight[theirs]),
        "means": (mcmc.away(point)[mine], exact.away(point)[theirs], spread),
        "scatter": (np.diag(mcmc.scatter), np.diag(exact.scatter), np.diag(exact.total[1])),
    }
    if mcmc.slopes and exact.slopes:
        columns = exact.with_slopes
        own = (one.products(columns) for one in (mcmc.slopes, exact.slopes))
        unit = exact.weight.max() * spread[columns, None] * spread
        pairs["cross-products"] = (next(own)[mine], next(own)[theirs], unit)
    totals = (in_one_unit(one.totals) for one in (mcmc, exact))
    for (role, a), b in zip(next(totals).items(), next(totals).values(), strict=True):
        pairs[f"totals of {role}"] = (a[mine], b[theirs], np.abs(b[theirs]))
    for name, (a, b, size) in pairs.items():
        if not (np.abs(a - b) <= SAME_STATISTICS * size).all():
            raise SpecError(
                f"the draws and the exact posterior are of different data: the {name} of the "
                f"groups differ"
            )


def _parents(data: GroupedData) -> list[np.ndarray]:
    """Labels of the inner groups' parents, the inner groups in the order of their labels."""
    return [outer.labels[inner.parent][np.argsort(inner.labels)] for outer, inner in data.pairs]


def _sorted_rows(data: GroupedData) -> tuple[Floats, ...]:
    """What ``COLUMNS`` names, in the order of groups and of all of these."""
    rows = require_rows(data, "a comparison of rows")
    of_columns = zip(data.labels, rows.memberships, strict=True)
    places = [np.argsort(np.argsort(labels))[member] for labels, member in of_columns]
    se = np.ones(len(rows.y)) if rows.se is None else rows.se
    known = dict(rows.columns)
    if STRATA in known:
        known[STRATA] = np.argsort(np.argsort(rows.strata))[strata_of(known)].astype(float)
    more = [column for _, column in sorted(known.items())]
    order = np.lexsort([*more, *rows.design.matrix.T, se, rows.y, *places])
    beside = np.array(more).reshape(len(more), len(rows.y))
    columns = rows.y[order], se[order], rows.design.matrix[order], beside[:, order]
    if rows.covariance is None:
        return *columns, np.zeros(0)
    return *columns, rows.covariance.given_others[order]


def require_same_outcomes(tree: xr.DataTree, exact: GroupedData) -> None:
    """Raise SpecError if a DataTree has other observed data, where it has them by our name."""
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


def matching_draws(
    tree: xr.DataTree,
    reference: Prepared,
    rename: Mapping[str, str],
    var_names: Sequence[str] | None,
) -> xr.Dataset:
    """Pick the reference's variables from the draws, with its labels in its order."""
    if "posterior" not in tree.children:
        raise SpecError(
            f"the draws have no group 'posterior'; found {', '.join(tree.children) or 'none'}"
        )
    draws = in_shape(_renamed(tree["posterior"].to_dataset(), rename), reference)
    fixed = _known(reference.spec)
    _require_fixed(draws, fixed, var_names)
    free = [name for name in reference.spec.variables if name not in fixed]
    default = [name for name in reference.spec.distinct_variables if name not in fixed]
    wanted = list(var_names or default)
    names = [name for name in free if name in draws and name in wanted]
    missing = [name for name in wanted if name not in draws or name not in names]
    if missing:
        raise SpecError(
            f"the draws have no variable {missing[0]!r}; expected "
            f"{', '.join(reference.spec.variables)}, found {_named(draws)}. Say with rename={{…}} "
            f"what they call it, or with var_names=[…] what to compare"
        )
    picked = draws[names]
    for dim, labels in coords_of(reference.spec, reference.data).items():
        if dim in {d for name in names for d in reference.spec.dims(name)}:
            picked = _aligned(picked, dim, np.asarray(labels))
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


def _known(spec: Spec) -> dict[str, float]:
    """Sds that are fixed, and deviations of crossed groups whose sd is fixed at 0, by name."""
    zero = [level.effect for level in spec.levels if spec.fixed.get(level.sd) == 0]
    return {**spec.fixed, **dict.fromkeys(zero if spec.is_crossed else [], 0.0)}


def _require_fixed(
    draws: xr.Dataset, fixed: Mapping[str, float], var_names: Sequence[str] | None
) -> None:
    """What is fixed is not compared; draws of it, if there are any, must be as fixed."""
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
    """Put the members of a dimension into the reference's order, by their labels."""
    if dim not in draws.dims:
        raise SpecError(
            f"the draws have no dimension {dim!r}; found {_named(draws)}. Say with rename={{…}} "
            f"what it is called"
        )
    if dim not in draws.coords:
        raise SpecError(
            f"the draws have no labels on dimension {dim!r}, so that it is not known which group "
            f"is which. Add them: posterior.assign_coords({dim}=[…])"
        )
    _require_same_labels(dim, draws[dim].values, labels)
    return draws.sel({dim: labels})


def _require_same_labels(dim: str, labels: Any, exact: Any) -> None:
    if len(labels) != len(exact) or set(labels.tolist()) != set(exact.tolist()):
        raise SpecError(
            f"the draws and the exact posterior have different {dim!r} labels: they are not of "
            f"the same data. The draws have {labels[:3].tolist()} …, the exact posterior "
            f"{exact[:3].tolist()} …"
        )


def _require_usable(draws: xr.Dataset) -> None:
    """Raise SpecError if the draws are too few to test, or not finite."""
    size = draws.sizes["chain"] * draws.sizes["draw"]
    if size < FEWEST_DRAWS:
        raise SpecError(f"expected at least {FEWEST_DRAWS} draws in all chains; found {size}")
    for name, values in draws.items():
        if not np.isfinite(values.to_numpy()).all():
            raise SpecError(f"the draws of {name!r} are not all finite numbers")
