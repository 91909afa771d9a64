"""Tables of a posterior."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import pandas as pd

from hiermodels.posterior import Posterior
from hiermodels.spec import Spec


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

    def __repr__(self) -> str:
        return f"{self._header}\n{super().__repr__()}"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self._header)}</pre>{self.to_html(max_rows=60)}"


def with_header(table: pd.DataFrame, spec: Spec, *notes: str) -> Summary:
    """Put the model, its priors and notes above a table."""
    summary = Summary(table)
    priors = [f"  {name} ~ {text}" for name, text in spec.describe_priors().items()]
    summary.attrs["header"] = [*spec.describe(), *priors, *notes]
    return summary


def summarize(posterior: Posterior, **options: Any) -> Summary:
    """Return ArviZ's summary of the draws.

    Parameters
    ----------
    posterior : Posterior
    **options
        Passed to ``arviz_stats.summary``: ``var_names``, ``ci_prob``, ``ci_kind``,
        ``round_to``, ….
    """
    from arviz_stats import summary

    draws = posterior.datatree.copy()
    draws["posterior"] = draws["posterior"].to_dataset().reset_coords(drop=True)  # ArviZ stacks
    table = summary(draws, **options)
    sizes = posterior.datatree["posterior"].sizes
    note = f"{posterior.engine}: {sizes['chain']} chains × {sizes['draw']} draws"
    return with_header(table, posterior.spec, note)
