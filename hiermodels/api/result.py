"""``Fit``: a posterior, and what one does with it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from hiermodels.api.result_files import ResultFiles
from hiermodels.api.result_pictures import ResultPictures
from hiermodels.api.result_predictions import ResultPredictions
from hiermodels.api.result_tables import ResultTables
from hiermodels.core.arguments import checked_methods


@checked_methods
@dataclass(frozen=True)
class Fit(ResultTables, ResultPredictions, ResultPictures, ResultFiles):
    """A posterior, and what can be done with it.

    Attributes
    ----------
    posterior : Posterior
        The record: specification, data, draws, engine and its certificate.
    """

    def _sections(self) -> dict[str, list[str]]:
        sizes = self.datatree["posterior"].sizes
        priors = self.spec.describe_priors()
        return {
            "model": self.spec.describe(),
            "priors": [f"{name} ~ {text}" for name, text in priors.items()],
            "data": [str(self.data), str(self.data.roles)],
            "engine": [
                f"{self.engine}, {sizes['chain']} chains × {sizes['draw']} draws",
                *(f"{name}: {text}" for name, text in self.posterior.certificate.items()),
            ],
        }

    def __repr__(self) -> str:
        lines = ["hiermodels.Fit"]
        for title, content in self._sections().items():
            lines += [f"{title if not i else '':<8}{line}" for i, line in enumerate(content)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><th style='text-align:left;vertical-align:top'>{title}</th>"
            f"<td style='text-align:left'>{'<br>'.join(map(escape, content))}</td></tr>"
            for title, content in self._sections().items()
        ]
        return f"<b>hiermodels.Fit</b><table>{''.join(rows)}</table>"
