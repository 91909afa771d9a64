"""How large the variance is at each level."""

from __future__ import annotations

from typing import Any

import arviz_plots as azp
import numpy as np
import xarray as xr
from arviz_base.labels import MapLabeller
from arviz_plots import PlotCollection
from arviz_stats.base import array_stats

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.errors import SpecError
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.spec import Spec
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.tables import CI_PROB, tails

LOWEST, HIGHEST = 1e-4, 0.995  # quantiles between which densities are shown
POINTS = 512  # of a density
EDGE = 0.05  # a share nearer than this to 0 or 1 is shown from there
NEAR_ZERO = 0.2  # a lower end, as a part of the upper one, that is moved to 0


@checked
@layout.layers_named()
def plot_variance(
    posterior: Posterior,
    *,
    shares: bool = True,
    ci_prob: float = CI_PROB,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Show the posteriors of the sds, and of each level's share of the variance.

    Sds (tau, kappa, sigma): densities, medians and equal-tailed intervals without Monte Carlo
    error, computed anew from the data whatever the engine of the posterior.

    Shares (intraclass correlations): what part of the variance of a row lies between groups,
    between outer groups and within groups: ``tau²/(tau² + kappa² + sigma²)`` and so on.  Where the
    rows' standard errors are known, what is shared out is the variance of the groups' effects,
    ``tau²/(tau² + kappa²)``; in models of two levels there is then nothing to share out.  Shares
    are estimated from the draws.

    Parameters
    ----------
    posterior : Posterior
    shares : bool
        Whether to show the shares.
    ci_prob : float
        Probability of the intervals.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        As in ``arviz_plots.plot_dist``: ``dist``, ``credible_interval``, ``point_estimate``, ….
    **pc_kwargs
        Passed to ``arviz_plots.plot_dist``.

    Returns
    -------
    PlotCollection
        With a panel for each variable: the sds, and shares as ``share_tau``.
    """
    tails(ci_prob)
    if not posterior.spec.groups:
        raise SpecError("this picture needs groups, and this model has none")
    free = [name for name in posterior.spec.sds if name not in posterior.spec.fixed]
    if not free:
        raise SpecError("every sd is fixed: there is no density to show")
    draws = posterior.datatree["posterior"].to_dataset()
    stats = _of_sds(posterior, ci_prob)
    parts = variance_shares(posterior.spec, draws)
    draws = draws[free]
    if shares and parts:
        more = _of_shares(parts, ci_prob)
        stats = {kind: dataset.merge(more[kind]) for kind, dataset in stats.items()}
        draws = draws.assign(parts)
    labels: dict[Any, Any] = {
        f"share_{name}": text for name, text in _formulas(posterior.spec).items()
    }
    plot = azp.plot_dist(
        xr.DataTree.from_dict({"posterior": draws}),
        kind="kde",
        point_estimate="median",
        ci_kind="eti",
        ci_prob=ci_prob,
        backend=backend,
        labeller=MapLabeller(var_name_map=labels),
        stats=stats,
        visuals={"point_estimate_text": {"round_to": "3g"}} | dict(visuals or {}),
        **layout.wrapped(backend, pc_kwargs, len(draws)),
    )
    layout.tidy(plot)
    return plot


def variance_shares(spec: Spec, draws: xr.Dataset) -> xr.Dataset:
    """Draws of each level's share of the variance, where it varies; none where there is one sd."""
    if len(spec.sds) < 2:
        return xr.Dataset()
    variances = draws[list(spec.sds)] ** 2
    total = sum(variances[name] for name in spec.sds)
    shares = {f"share_{name}": variances[name] / total for name in spec.sds}
    return xr.Dataset(
        {name: share for name, share in shares.items() if np.ptp(share.to_numpy()) > 0}
    )


def _formulas(spec: Spec) -> dict[str, str]:
    """How each share is made up, for people to read."""
    total = " + ".join(f"{name}²" for name in spec.sds)
    return {name: f"{name}² / ({total})" for name in spec.sds}


def _of_sds(posterior: Posterior, ci_prob: float) -> dict[str, xr.Dataset]:
    """Density, interval and median of each sd, without Monte Carlo error."""
    exact = reference_posterior(posterior.spec, posterior.data)
    names = [name for name in posterior.spec.sds if name not in posterior.spec.fixed]
    quantiles = exact.quantile(_probabilities(ci_prob), names).drop_vars("quantile")
    places = {name: _places(quantiles[name].to_numpy()) for name in names}
    density = {name: _curve(x, exact.density(name, x)) for name, x in places.items()}
    return _stats(quantiles, density)


def _of_shares(parts: xr.Dataset, ci_prob: float) -> dict[str, xr.Dataset]:
    """Density, interval and median of each share, from draws."""
    quantiles = parts.quantile(_probabilities(ci_prob), SAMPLE_DIMS).drop_vars("quantile")
    density = {}
    for name, draws in parts.items():
        x, y, _ = array_stats.kde(
            draws.to_numpy().ravel(), bw="scott", custom_lims=(0, 1), bound_correction=True
        )
        low, high = float(draws.min()), float(draws.max())
        at = np.linspace(low if low > EDGE else 0.0, high if high < 1 - EDGE else 1.0, POINTS)
        density[str(name)] = _curve(at, np.interp(at, x, y))
    return _stats(quantiles, density)


def _probabilities(ci_prob: float) -> list[float]:
    """Of the end of a density, of an interval, and the median."""
    low, high = tails(ci_prob)
    return [LOWEST, low, 0.5, high, HIGHEST]


def _places(quantiles: Floats) -> Floats:
    """Where a density is shown: between its ends, or from 0 if that is near."""
    low, high = quantiles[[0, -1]]
    return np.linspace(low if low > NEAR_ZERO * high else 0.0, high, POINTS)


def _stats(quantiles: xr.Dataset, density: dict[str, xr.DataArray]) -> dict[str, xr.Dataset]:
    """Put densities and quantiles as ``plot_dist`` takes them."""
    return {
        "dist": xr.Dataset(density),
        "credible_interval": quantiles.isel(quantile=[1, 3]).rename(quantile="ci_bound"),
        "point_estimate": quantiles.isel(quantile=2),
    }


def _curve(x: Floats, y: Floats) -> xr.DataArray:
    """A density, in the form that ``plot_dist`` takes."""
    coords = {"plot_axis": ["x", "y"]}
    return xr.DataArray(np.stack([x, y]), coords, ("plot_axis", "place"), attrs={"kind": "kde"})
