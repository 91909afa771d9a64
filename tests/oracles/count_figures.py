"""Posteriors of counts to ten digits, and the data that they are of, from ``count_figures.json``.

They were computed apart from this package, with another code, by quadrature over (log tau, mu,
beta) with every effect integrated out.  Two spacings agree to 3e-9 posterior sds or better, but for
what stands under "agreement"; where thirty digits were computed, they agree to 3e-11.  "groups" are
the indices of the groups whose figures stand there.  With covariates ``theta`` includes x'beta.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

import hiermodels as hm

FIGURES: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
)
PRIORS = {
    "half_normal1": {"tau": hm.HalfNormal(1)},
    "flat_variance": {"tau": hm.FlatVariance()},
    "proper": {"mu": hm.Normal(0, 5), "tau": hm.HalfNormal(1)},
    "half_normal0.5": {"tau": hm.HalfNormal(0.5)},
}
OUTCOMES = {
    "pumps": {"outcome": "y", "exposure": "E"},
    "nielweise2007": {"outcome": "a", "trials": "n1"},
}


def model(name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The data of a file of figures, and what is to be said of the model beside them."""
    data = pd.DataFrame(FIGURES[name]["data"])
    what = name.split("_")[0]
    said: dict[str, Any] = dict(OUTCOMES.get(what, {"outcome": "r", "trials": "n"}))
    said["priors"] = dict(next(prior for end, prior in PRIORS.items() if name.endswith(end)))
    said["groups"] = ["group"]
    data["group"] = [f"g{i:03d}" for i in range(len(data))]
    if what == "seeds":
        said["covariates"] = ["x1", "x2"]
    if what == "nielweise2007":
        said["family"] = hm.OddsRatio(control_events="c", control_trials="n2")
        data = data[data["a"] + data["c"] > 0].reset_index(drop=True)
    if what == "three":
        said["groups"] = ["outer", "group"]
        said["priors"]["kappa"] = hm.HalfNormal(1)
        data["outer"] = [f"s{i:02d}" for i in data["outer"]]
    return data, said
