"""Tables that say what they speak of: the model, its priors, the kind of the intervals."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from itertools import product
from typing import Any

import pandas as pd
import xarray as xr

from hiermodels.core.options import real_number
from hiermodels.errors import SpecError
from hiermodels.model.spec import Spec

CI_PROB = 0.89  # of intervals, unless another is asked for
CI_KINDS = {"eti": "equal-tailed", "hdi": "highest-density"}
NEGATIVE_ZERO = re.compile(r"-0(\.0*)?")
DIGITS = 5  # of a number in a table
MAX_ROWS = 60  # that a table shows; of a longer one
FEW_ROWS = 20  # it shows as many


class Summary(pd.DataFrame):
    """A data frame that is shown below the model and the priors that it speaks of.

    It is a DataFrame in every other respect; what is computed from it is a plain one.
    """

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    @property
    def _header(self) -> str:
        return "\n".join(self.attrs["header"])

    def _shown(self, value: float) -> str:
        return shown(value, self.attrs.get("digits", DIGITS))

    def __repr__(self) -> str:
        rows: Any = {"max_rows": MAX_ROWS, "min_rows": FEW_ROWS}
        return f"{self._header}\n{self.to_string(float_format=self._shown, **rows)}"

    def _repr_html_(self) -> str:
        table = self.to_html(float_format=self._shown, max_rows=MAX_ROWS)
        return f"<pre>{escape(self._header)}</pre>{table}"


def with_header(table: pd.DataFrame, spec: Spec, *notes: str, digits: int | None = None) -> Summary:
    """Put the model, its priors and notes above a table, of which so many digits are shown."""
    summary = Summary(table)
    priors = [f"  {name} ~ {text}" for name, text in spec.describe_priors().items()]
    summary.attrs["header"] = [*spec.describe(), *priors, *notes]
    summary.attrs["notes"] = list(notes)
    if digits is not None:
        summary.attrs["digits"] = min(digits, DIGITS)
    return summary


def unsigned(table: pd.DataFrame) -> pd.DataFrame:
    """The same with zeros that have no sign, be they numbers or text such as ``-0.00``."""

    def own(value: Any) -> Any:
        if isinstance(value, float):
            return value + 0.0
        return value[1:] if isinstance(value, str) and NEGATIVE_ZERO.fullmatch(value) else value

    return table.map(own)


def flatten(dataset: xr.Dataset) -> pd.Series:
    """One row for each scalar, named as ArviZ names them: ``tau``, ``theta[A, Intercept]``."""
    rows: dict[str, float] = {}
    for name, variable in dataset.items():
        if variable.ndim == 0:
            rows[str(name)] = float(variable)
        else:
            labels = product(*(variable.coords[dim].values for dim in variable.dims))
            rows |= {
                f"{name}[{', '.join(map(str, label))}]": float(v)
                for label, v in zip(labels, variable.values.flat, strict=True)
            }
    return pd.Series(rows)


def shown(value: float, digits: int = DIGITS) -> str:
    """Five digits, or fewer, without an exponent where the number is large but not huge.

    0 has no sign.
    """
    value += 0.0
    if 10 ** (DIGITS - 1) <= abs(value) < 1e9:
        return f"{value if digits >= DIGITS else float(f'{value:.{digits}g}'):.0f}"
    return f"{value:.{digits}g}"


def interval_note(ci_prob: float, ci_kind: str = "eti") -> str:
    """What a table says of its intervals."""
    return f"intervals: {100 * ci_prob:g} % {CI_KINDS.get(ci_kind, ci_kind)}"


def interval_label(ci_prob: float) -> str:
    """How ArviZ begins the names of an equal-tailed interval's columns: ``eti89``."""
    return f"eti{100 * ci_prob:g}"


def tails(ci_prob: float) -> tuple[float, float]:
    """Probabilities at which an equal-tailed interval begins and ends.

    Raises
    ------
    SpecError
        If ``ci_prob`` is not a probability.
    """
    if not 0 < real_number("ci_prob", ci_prob) < 1:
        raise SpecError(f"ci_prob: expected a probability between 0 and 1; found {ci_prob!r}")
    return (1 - ci_prob) / 2, (1 + ci_prob) / 2
