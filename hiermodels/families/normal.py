"""Normal rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.families.checks import Invalid, positive, where_any
from hiermodels.families.family import Columns
from hiermodels.families.normal_leaves import NormalLeaves
from hiermodels.families.reals import Reals
from hiermodels.families.row_leaves import log_given_total
from hiermodels.numerics.group_sums import group_means

WEIGHTS = "weights"
STRATA = "residual_by"


def log_normal(y: Floats, mean: Floats | float, sd: Floats | float) -> Floats:
    """Log density of ``N(mean, sd²)`` at y."""
    return -0.5 * (LOG_2PI + ((y - mean) / sd) ** 2) - np.log(sd)


@storable
@dataclass(frozen=True)
class NormalRows(Reals):
    """``y ~ N(η, sd²/w)``: the linear predictor is the mean; weights w are 1 if not given.

    Rows may be of strata, numbered from 0, each with an sd of its own: see :func:`row_sds`.
    """

    name: ClassVar[str] = "normal"
    columns: ClassVar[tuple[str, ...]] = ("sd", WEIGHTS, STRATA)

    def invalid(self, y: Floats, columns: Columns) -> Iterator[Invalid]:
        """Outcomes that are not finite; standard deviations and weights that are not positive."""
        yield from super().invalid(y, columns)
        yield from where_any(*(positive(WEIGHTS, columns[n]) for n in columns if n == WEIGHTS))

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """``Normal(η, sd)``."""
        weighted = f"/sqrt({columns[WEIGHTS]})" if WEIGHTS in columns else ""
        stratum = f"[{columns[STRATA]}]" if STRATA in columns else ""
        return f"Normal({eta}, {columns['sd']}{stratum}{weighted})"

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``log N(y; η, sd²/w)`` of each row."""
        return log_normal(y, eta, _sd(columns))

    def moments(self, eta: Floats, columns: Columns) -> tuple[Floats, Floats]:
        """``η`` and ``sd²/w``."""
        sd = _sd(columns)
        return eta, np.broadcast_to(sd**2, np.broadcast_shapes(eta.shape, sd.shape))

    def cdf(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """The normal distribution function."""
        from scipy.special import ndtr

        return ndtr((y - eta) / _sd(columns))

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw outcomes: ``η + sd·noise``, of the shape of η."""
        drawn = rng.standard_normal(eta.shape)
        drawn *= _sd(columns)
        drawn += eta
        return drawn

    def leaves(
        self, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> NormalLeaves:
        """Likelihoods of groups: the rows' means, weighted by ``w sd⁻²``."""
        rows = NormalLeaves.of(y - offset, _sd(columns))
        smallest = np.full(size, np.inf)
        np.minimum.at(smallest, group, rows.sd)
        weight = (smallest[group] / rows.sd) ** 2
        total, some, above = group_means(rows.mean[:, None], weight, group, size)
        means = NormalLeaves.of((some + above)[:, 0], smallest / np.sqrt(total))
        return replace(means, log_given_mean=log_given_total(rows, means, group))

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Any, dims: str
    ) -> Any:
        """Add the rows to the open PyMC model."""
        return pm.Normal(name, eta, _sd(columns), observed=observed, dims=dims)

    def raw(self, y: Floats, columns: Columns, offset: Floats) -> tuple[Floats, Floats]:
        """Outcomes weighted by ``w/sd²``, and these weights."""
        return super().raw(y, {**columns, "sd": _sd(columns)}, offset)


def row_sds(sigma: Any, columns: Mapping[str, Any]) -> Any:
    """Sds of rows before weights: σ (...,) of all of them, or σ (..., K) of each one's stratum."""
    if STRATA in columns:
        return sigma[..., np.asarray(columns[STRATA], dtype=np.intp)]
    return sigma[..., None]


def _sd(columns: Mapping[str, Any]) -> Any:
    """Standard deviations of the rows, ``sd/√w``: arrays, or variables of PyMC."""
    return columns["sd"] / columns[WEIGHTS] ** 0.5 if WEIGHTS in columns else columns["sd"]
