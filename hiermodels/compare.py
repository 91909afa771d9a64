"""MCMC against the exact posterior, in units of Monte Carlo error."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.errors import SpecError
from hiermodels.noise_free import ReferencePosterior, flatten
from hiermodels.posterior import SAMPLE_DIMS

QUANTILES = {"5%": 0.05, "50%": 0.5, "95%": 0.95}
JUDGED = ("mean", *QUANTILES)  # an sd's own error needs a fourth moment, which may not exist
SHOWN: Any = {"float_format": "{:.4g}".format, "max_rows": 40}
WORST = 3  # quantities that a verdict names


class FitLike(Protocol):
    """What is needed of a fit here."""

    @property
    def datatree(self) -> xr.DataTree:
        """Draws, with a group ``posterior``."""

    def reference(self) -> ReferencePosterior:
        """Return the noise-free posterior."""


@dataclass(frozen=True)
class Comparison:
    """How far MCMC is from the exact posterior.

    Attributes
    ----------
    table : DataFrame
        A row for each scalar and each of its mean, sd and quantiles: ``mcmc``, ``exact``,
        ``mcse`` (Monte Carlo standard error), ``z`` and ``p``, its two-sided probability under a
        normal distribution.  For means and sds ``z = (mcmc − exact)/mcse``; for quantiles it
        compares the share of draws below the exact quantile with what it should be.
    alpha : float
        Probability with which right draws fail, at the most, as far as z is normal.
    """

    table: pd.DataFrame
    alpha: float

    @property
    def threshold(self) -> float:
        """Size of z that is too large, with all judged quantities taken together."""
        from scipy.special import ndtri

        return float(-ndtri(self.alpha / (2 * max(len(self._judged), 1))))

    @property
    def passed(self) -> bool:
        """Whether no judged quantity is further off than chance allows."""
        return bool((self._judged["z"].abs() <= self.threshold).all())

    @property
    def verdict(self) -> str:
        """The result, in a sentence."""
        z = self._judged["z"]
        order = np.argsort(-z.abs().to_numpy())
        largest = f"the largest of {len(z)} |z| is {z.abs().max():.1f}"
        limit = f"{self.threshold:.1f} is the limit at alpha = {self.alpha:g}"
        if self.passed:
            return f"The draws agree with the exact posterior: {largest}, and {limit}."
        worst = [
            f"{z.index[i][1]} of {z.index[i][0]} is too {'high' if z.iloc[i] > 0 else 'low'} "
            f"(z = {z.iloc[i]:+.1f})"
            for i in order[:WORST]
            if abs(z.iloc[i]) > self.threshold
        ]
        return (
            f"The draws do NOT agree with the exact posterior: {'; '.join(worst)}; {largest}, and "
            f"{limit}."
        )

    @property
    def _judged(self) -> pd.DataFrame:
        kinds = self.table.index.get_level_values("statistic")
        return self.table[kinds.isin(JUDGED) & self.table["z"].notna().to_numpy()]

    def __repr__(self) -> str:
        return f"{self.verdict}\n{self.table.to_string(**SHOWN)}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.verdict)}</p>{self.table.to_html(**SHOWN)}"


def compare(
    mcmc: FitLike | xr.DataTree,
    exact: FitLike | ReferencePosterior,
    alpha: float = 0.01,
) -> Comparison:
    """Compare draws with the exact posterior.

    Parameters
    ----------
    mcmc : Fit or DataTree
        The draws; of a DataTree the group ``posterior`` is used, with the variables and
        dimensions of this package.
    exact : Fit or ReferencePosterior
        The exact posterior; of a Fit, its :meth:`Fit.reference`, not its draws.
    alpha : float
        Probability of a false alarm over all quantities together (Bonferroni).

    Returns
    -------
    Comparison

    References
    ----------
    Vehtari et al. (2021), Bayesian Analysis 16:667 (Monte Carlo standard errors).

    Examples
    --------
    >>> import hiermodels as hm
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> hm.compare(fit, fit).passed
    True
    """
    if not 0 < alpha < 1:
        raise SpecError(f"alpha: expected a number between 0 and 1; found {alpha!r}")
    reference = exact if isinstance(exact, ReferencePosterior) else exact.reference()
    draws = _matching_draws(mcmc if isinstance(mcmc, xr.DataTree) else mcmc.datatree, reference)
    parts = {
        "mean": _moment_rows(draws, "mean", draws.mean(SAMPLE_DIMS), reference.mean),
        "sd": _moment_rows(draws, "sd", draws.std(SAMPLE_DIMS, ddof=1), reference.sd),
    }
    quantiles = reference.quantile(list(QUANTILES.values()))
    for i, (label, q) in enumerate(QUANTILES.items()):
        parts[label] = _quantile_rows(draws, q, quantiles.isel(quantile=i, drop=True))
    table = pd.concat(parts, names=["statistic", "quantity"]).swaplevel()
    return Comparison(table.loc[list(parts["mean"].index)], alpha)


def _matching_draws(tree: xr.DataTree, reference: ReferencePosterior) -> xr.Dataset:
    """Pick the reference's variables from the draws, with its labels in its order."""
    draws = tree["posterior"].to_dataset()
    names = list(reference.mean.data_vars)
    missing = [name for name in names if name not in draws]
    if missing:
        raise SpecError(
            f"the draws have no variable {missing[0]!r}; expected {', '.join(map(str, names))}, "
            f"found {', '.join(map(str, draws.data_vars))}"
        )
    for dim, labels in reference.mean.coords.items():
        if dim not in draws.coords or set(draws[dim].values) != set(labels.values):
            raise SpecError(
                f"the draws and the exact posterior have different {dim!r} labels: they are not of "
                f"the same data"
            )
    return draws[names].sel(dict(reference.mean.coords))


def _moment_rows(
    draws: xr.Dataset, method: str, found: xr.Dataset, truth: xr.Dataset
) -> pd.DataFrame:
    """Put found and true means or sds side by side; a row for each scalar."""
    from arviz_stats import mcse

    error = mcse(draws, method=method)
    return _rows(found, truth, error, (found - truth) / error)


def _quantile_rows(draws: xr.Dataset, q: float, truth: xr.Dataset) -> pd.DataFrame:
    """Put found and true quantiles side by side; a row for each scalar.

    The share s of draws below the true quantile has mean q and variance ``q(1 − q)/ESS``, with the
    effective sample size of being below: ``z = (q − s)/√(q(1 − q)/ESS)``, positive where the
    draws' quantile is too high.  The draws' own quantile has no error that is known so well.
    """
    from arviz_stats import ess, mcse

    found = draws.quantile(q, SAMPLE_DIMS).drop_vars("quantile")
    below = (draws <= truth).astype(float)
    share = below.mean(SAMPLE_DIMS)
    size = ess(below, method="mean").fillna(draws.sizes["chain"] * draws.sizes["draw"])
    z = (q - share) / np.sqrt(q * (1 - q) / size)
    return _rows(found, truth, mcse(draws, method="quantile", prob=q), z)


def _rows(found: xr.Dataset, truth: xr.Dataset, error: xr.Dataset, z: xr.Dataset) -> pd.DataFrame:
    from scipy.special import ndtr

    columns = {"mcmc": found, "exact": truth, "mcse": error, "z": z}
    table = pd.DataFrame({name: flatten(values) for name, values in columns.items()})
    return table.assign(p=2 * ndtr(-table["z"].abs()))
