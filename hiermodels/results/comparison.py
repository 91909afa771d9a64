"""How far draws are from the exact posterior, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.names import SAMPLE_DIMS, TESTED
from hiermodels.numerics.monte_carlo_error import combine

if TYPE_CHECKING:
    from arviz_plots import PlotCollection


SLOPE = np.sqrt(3 / np.pi)  # of the first component's mean, at a shift by 1 sd
SEEN = 0.9  # probability with which a bias is called seen
WORST = 3  # quantities that a verdict names
MAX_ROWS = 48  # of it that are shown


@dataclass(frozen=True)
class Comparison:
    """How far draws are from the exact posterior.

    Attributes
    ----------
    table : DataFrame
        Six rows for each scalar: ``mean``, ``sd``, the quantiles ``5%``, ``50%`` and ``95%``, and
        ``uniformity`` of the exact distribution function at the draws.  Columns: ``mcmc`` and
        ``exact`` (for uniformity the Kolmogorov distance, and 0), ``mcse`` (Monte Carlo standard
        error, in the same unit), ``z``, ``p``, ``ess`` (effective sample size for this
        statistic), ``df`` (degrees of freedom of the standard error) and ``direction``, what z says
        of the draws.  For quantiles z compares the share of draws below the exact quantile with
        what it should be.  For uniformity z is that of the worst component, p combines all six,
        and ``ess`` and ``df`` are the first one's.  Where the exact side is draws, too, as a note
        says, errors, ``ess`` and ``df`` are those of both sides together.
    alpha : float
        Probability with which right draws fail.
    pit : Dataset
        The exact distribution function at the draws, in the layout of the posterior.
    warnings : tuple of str
        What else speaks against the draws.
    notes : tuple of str
        Why means or sds are nan, where they do not exist, and what the exact side is, where it is
        draws.
    """

    table: pd.DataFrame
    alpha: float
    pit: xr.Dataset
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def judged(self) -> pd.DataFrame:
        """The rows of the table that make the verdict: all but sds and means with heavy tails."""
        kinds = self.table.index.get_level_values("statistic")
        return self.table[kinds.isin(TESTED) & self.table["p"].notna().to_numpy()]

    @property
    def p_value(self) -> float:
        """Probability of so large a disagreement if the draws are right, over all tested rows."""
        return combine(self.judged["p"].to_numpy())

    @property
    def passed(self) -> bool:
        """Whether the disagreement is no larger than chance allows."""
        return self.p_value >= self.alpha

    @property
    def verdict(self) -> str:
        """The result, in sentences: what is wrong and in which direction, and what was seen."""
        rows = self.judged
        result = f"p = {self.p_value:.2g} over {len(rows)} statistics, alpha = {self.alpha:g}"
        if self.passed:
            sentence = f"The draws agree with the exact posterior ({result})."
        else:
            sentence = (
                f"The draws do NOT agree with the exact posterior ({result}): {self._worst()}."
            )
        return " ".join([sentence, self._power(), *self.warnings])

    @property
    def detectable(self) -> pd.Series:
        """Smallest bias of each scalar that would be seen with probability 90 %.

        In posterior sds, for a shift of that scalar alone, by the first component of uniformity
        alone: ``δ = (t + 1.28)/(√(3/π) √ESS)``, with t the value at which one component makes
        the verdict, ``p = alpha/(6 rows)``, and √(3/π) what a shift of a normal distribution by its
        sd does to that component.  What shows in several rows is seen earlier.
        """
        from scipy.special import ndtri, stdtrit

        shift = self.table.xs("uniformity", level="statistic")
        tests = len(self.judged) * len(SHAPES)
        limit = stdtrit(shift["df"], 1 - self.alpha / (2 * tests))
        return ((limit + ndtri(SEEN)) / (SLOPE * np.sqrt(shift["ess"]))).rename("detectable")

    def plot(self, **options: Any) -> PlotCollection:
        """Show where the draws depart from the exact posterior.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_compare`.
        """
        from hiermodels.plots.comparison import plot_compare

        return plot_compare(self, **options)

    def _worst(self) -> str:
        """Name the worst scalars by their worst statistic, largest disagreement first."""
        rows = self.judged.reset_index().assign(size=lambda table: -table["z"].abs())
        worst = rows.sort_values(["p", "size"]).drop_duplicates("quantity")
        alone = worst["p"] <= max(worst["p"].min(), self.alpha / len(rows))
        return "; ".join(
            f"{row.quantity!s} is {row.direction!s} ({row.statistic!s}, z = {row.z:+.1f})"
            if row.statistic in ("mean", "uniformity")
            else f"the {row.statistic!s} quantile of {row.quantity!s} is {row.direction!s} "
            f"(z = {row.z:+.1f})"
            for row in worst[alone].head(WORST).itertuples()
        )

    def _power(self) -> str:
        """State what the comparison could see, by its hardest hyperparameter."""
        scalars = [str(name) for name in self.pit if not self._is_vector(name)]
        bias = self.detectable
        hardest = str((bias[scalars] if scalars else bias).idxmax())
        size = self.table["ess"][hardest, "uniformity"]
        return (
            f"With {size:,.0f} effective draws of {hardest}, a bias of {bias[hardest]:.2g} "
            f"posterior sd in it would be seen with probability {SEEN:.0%}."
        )

    def _is_vector(self, name: Any) -> bool:
        return self.pit[name].ndim > len(SAMPLE_DIMS)

    def __repr__(self) -> str:
        return "\n".join([self.verdict, *self.notes, self.table.to_string(**self._format)])

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{escape(text)}</p>" for text in (self.verdict, *self.notes))
        return f"{said}{self.table.to_html(**self._format)}"

    @property
    def _format(self) -> Any:
        """How the table is shown: with no more digits than the quadrature reached."""
        digits = self.table.attrs.get("digits", DIGITS)
        return {"float_format": lambda value: f"{value + 0.0:.{digits}g}", "max_rows": MAX_ROWS}


SHAPES = (  # the same for each component of uniformity
    ("too high", "too low"),
    ("too wide", "too narrow"),
    ("skewed to the right", "skewed to the left"),
    ("too heavy in the tails and the middle", "too light in the tails and the middle"),
    ("too often very small", "too rarely very small"),
    ("too often very large", "too rarely very large"),
)
DIGITS = 4  # of numbers in the table
