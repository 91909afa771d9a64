"""Whether an engine's draws are right for all outcomes that the model may yield."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.model.spec import Spec
from hiermodels.numerics import uniformity

if TYPE_CHECKING:
    from arviz_plots import PlotCollection


WORST = 3  # quantities that a verdict names
CLEAR = 3.0  # standard errors from which on a mean or a spread counts as a deviation of its own
MAX_R_HAT = 1.05  # in one of many runs, few of which are looked at
SHOWN: Any = {"float_format": "{:.4g}".format, "max_rows": 40}


@dataclass(frozen=True)
class Calibration:
    """How an engine did in many simulations.

    Attributes
    ----------
    spec : Spec
        What is assumed, in simulations and by the engine.
    engine : str
    datatree : xarray.DataTree
        Group ``prior_sbc``: for each simulation (dimension ``draw``, in one ``chain``) and each
        variable the probability integral transform (PIT) of the true value, its rank among the
        draws between 0 and 1, made continuous at random; ``arviz_plots.plot_ecdf_pit`` draws it.
        Group ``sample_stats``: ``draws``, the number that it was ranked among, and for NUTS
        ``divergences`` and ``r_hat``.
    alpha : float
        Probability with which a right engine fails, at the most.
    """

    spec: Spec
    engine: str
    datatree: xr.DataTree
    alpha: float

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each quantity.

        ``pit_mean`` and ``pit_sd`` would be 0.5 and 0.289; ``p`` is the probability that uniform
        values deviate as much (:mod:`hiermodels.numerics.uniformity`), ``p_adjusted`` that in all
        quantities together (Bonferroni); ``posterior`` says what is wrong where that is below
        ``alpha``: too narrow or too wide, too low or too high, or of another shape.
        """
        pits = self._pits
        p = np.array([uniformity.p_value(values) for values in pits.T.to_numpy()])
        adjusted = np.minimum(p * len(p), 1.0)
        wrong = [
            _deviation(values) if value <= self.alpha else ""
            for values, value in zip(pits.T.to_numpy(), adjusted, strict=True)
        ]
        return pd.DataFrame(
            {
                "pit_mean": pits.mean(),
                "pit_sd": pits.std(),
                "p": p,
                "p_adjusted": adjusted,
                "posterior": wrong,
            }
        )

    @property
    def passed(self) -> bool:
        """Whether no quantity deviates more than chance allows."""
        return bool((self.table["p_adjusted"] > self.alpha).all())

    @property
    def verdict(self) -> str:
        """The result, in a sentence or two."""
        table = self.table.sort_values("p_adjusted", kind="stable")
        several = f"{len(self._pits)} simulations"
        if self.passed:
            sentence = (
                f"The posterior is calibrated, as far as {several} show: the smallest of "
                f"{len(table)} adjusted p-values is {table['p_adjusted'].iloc[0]:.2g}, and "
                f"{self.alpha:g} is the limit."
            )
        else:
            wrong = table[table["p_adjusted"] <= self.alpha]
            worst = [
                f"that of {name} is {row['posterior']} (adjusted p = {row['p_adjusted']:.1g})"
                for name, row in wrong.head(WORST).iterrows()
            ]
            sentence = (
                f"The posterior is NOT calibrated: {'; '.join(worst)}; {len(wrong)} of "
                f"{len(table)} quantities deviate in {several} at alpha = {self.alpha:g}."
            )
        return " ".join([sentence, *self._troubles()])

    def plot(self, *, backend: str | None = None, **pc_kwargs: Any) -> PlotCollection:
        """Show how far the distribution of the PIT values is from uniform.

        For each variable the difference of their distribution function from that of uniform
        values, a line for each group, and the band that uniform values leave anywhere, in any of
        the quantities, with at most probability ``alpha``.  Lines run below 0 where the posterior
        is too low, and above where it is too high; first above and then below where it is too
        narrow, and the other way round where it is too wide.

        Parameters
        ----------
        backend : {"matplotlib", "plotly", "bokeh"}, optional
        **pc_kwargs
            Passed to ``arviz_plots.plot_ecdf_pit``.
        """
        return _plot(self, backend, pc_kwargs)

    @property
    def _pits(self) -> pd.DataFrame:
        """PIT values, a column for each quantity."""
        columns: dict[str, Floats] = {}
        for name, values in self.datatree["prior_sbc"].to_dataset().isel(chain=0).items():
            if values.ndim == 1:
                columns[str(name)] = values.to_numpy()
                continue
            places = product(*(values[dim].to_numpy() for dim in values.dims[1:]))
            labels = [", ".join(map(str, place)) for place in places]
            pits = values.to_numpy().reshape(-1, len(labels))
            columns |= {f"{name}[{label}]": pits[:, j] for j, label in enumerate(labels)}
        return pd.DataFrame(columns)

    def _troubles(self) -> list[str]:
        """What the engine itself says is wrong, a sentence for each."""
        stats = self.datatree["sample_stats"].to_dataset()
        size, troubles = stats.sizes["draw"], []
        if "divergences" in stats and (count := int((stats["divergences"] > 0).sum())):
            troubles.append(f"Draws diverged in {count} of {size} simulations.")
        if "r_hat" in stats and (count := int((stats["r_hat"] > MAX_R_HAT).sum())):
            troubles.append(f"R-hat was above {MAX_R_HAT} in {count} of {size} simulations.")
        return troubles

    def __repr__(self) -> str:
        return f"{self.verdict}\n{self.table.to_string(**SHOWN)}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.verdict)}</p>{self.table.to_html(**SHOWN)}"


def _deviation(pits: Floats) -> str:
    """What PIT values that are not uniform say of the posterior.

    If they are uniform, their mean has the variance 1/(12 n), and the mean of ``(pit − ½)²``
    1/(180 n).  Named is the larger deviation, and the other one if it is clear beside it.
    """
    n = len(pits)
    shift = (pits.mean() - 1 / 2) * np.sqrt(12 * n)
    spread = (((pits - 1 / 2) ** 2).mean() - 1 / 12) * np.sqrt(180 * n)
    sizes = {
        "too low" if shift > 0 else "too high": abs(shift),
        "too narrow" if spread > 0 else "too wide": abs(spread),
    }
    least = max(CLEAR, max(sizes.values()) / 2)
    clear = [text for text in sorted(sizes, key=lambda t: -sizes[t]) if sizes[text] >= least]
    return " and ".join(clear) or "of another shape"


def _plot(
    calibration: Calibration, backend: str | None, pc_kwargs: dict[str, Any]
) -> PlotCollection:
    """Draw with arviz-plots, with the band of our own test in place of its p-values."""
    import arviz_plots as azp
    from arviz_base import rcParams

    pits = calibration.datatree["prior_sbc"].to_dataset()
    quantities = len(calibration.table)
    points, lower, upper = uniformity.band(pits.sizes["draw"], calibration.alpha / quantities)
    members = [dim for dim in pits.dims if dim not in SAMPLE_DIMS]
    overlays = {f"overlay_{dim}": [dim] for dim in members}
    options: dict[str, Any] = {"cols": ["__variable__"], "aes": overlays} | pc_kwargs
    if (backend or rcParams["plot.backend"]) == "matplotlib":
        options["figure_kwargs"] = {"layout": "constrained"} | options.get("figure_kwargs", {})
    plot = azp.plot_ecdf_pit(
        calibration.datatree,
        backend=backend,
        aes_by_visuals={"ecdf_lines": list(overlays)},
        visuals={
            "ecdf_lines": {"alpha": 0.6, "width": 1},
            "ylabel": {},
            "p_value_text": False,
            "suspicious_points": False,
        },
        **options,
    )
    plot.map(
        azp.visuals.fill_between_y,
        "band",
        data=pits,
        x=points,
        y_bottom=lower - points,
        y_top=upper - points,
        color="B1",
        alpha=0.2,
        ignore_aes="all",
    )
    distances = [uniformity.distance(values.isel(chain=0).to_numpy()) for values in pits.values()]
    furthest = max((upper - points).max(), *(distance.max() for distance in distances))
    limits = (-1.1 * furthest, 1.1 * furthest)
    plot.map(azp.visuals.set_ylim, "limits", limits=limits, ignore_aes="all", store_artist=False)
    return plot
