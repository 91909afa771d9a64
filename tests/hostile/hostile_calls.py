"""Every public callable with wrong kinds of every argument: what is tried, and how.

The arguments come from the signatures, so that a new one is tried without a word here.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import hiermodels as hm
from hiermodels import datasets, plots

WRONG: dict[str, Any] = {
    "an object": object(),
    "None": None,
    "True": True,
    "-1": -1,
    "1.5": 1.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "a huge integer": 10**400,
    "text": "a",
    "no text": "",
    "long text": "x" * 300,
    "bytes": b"x",
    "an empty list": [],
    "a list of text": ["a"],
    "a list of None": [None],
    "a list of lists": [[1, 2], [3]],
    "an empty mapping": {},
    "a mapping of text": {"a": 1},
    "a mapping of numbers": {1: 2},
    "a set": {1, "a"},
    "an array": np.array([1.0, np.nan]),
    "a matrix of text": np.array([["a", "b"]]),
    "RandomState": np.random.RandomState(1),
    "an empty frame": pd.DataFrame(),
    "a series": pd.Series(["a", None]),
    "a dataset": xr.Dataset(),
    "a function": lambda: 1,
    "a complex number": 1j,
    "a class": dict,
    "a path": Path("no such folder") / "file",
}
SLOW = {"Fit.report": 10, "sensitivity": 4, "calibrate": 2}  # how much more rarely these are tried


@dataclass(frozen=True)
class Call:
    """A public callable with arguments that it takes."""

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any]

    def attempts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each argument replaced by each wrong value, and one argument that there is not."""
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind == parameter.VAR_KEYWORD:
                yield "an unknown option", {**self.arguments, "nonsense": 1}
            elif parameter.kind != parameter.VAR_POSITIONAL:
                for kind, value in WRONG.items():
                    yield f"{parameter.name} = {kind}", {**self.arguments, parameter.name: value}

    def leak(self, arguments: Mapping[str, Any]) -> str:
        """The error that is none of the package's; empty if there is none."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.function(**arguments)
            except hm.HierModelsError:
                return ""
            except Exception as error:
                return f"{type(error).__name__}: {str(error)[:120]}"
        return ""


def calls(folder: Path) -> list[Call]:
    """Everything public that can be called."""
    rows = pd.DataFrame({"y": [1.0, 2.5, 0.5, 3.0, 2.0, 4.5, 1.5, 3.5], "g": list("aabbccdd")})
    priors = {"mu": hm.Normal(0, 5), "tau": hm.HalfNormal(2), "sigma": hm.HalfNormal(2)}
    given = {"data": rows, "outcome": "y", "groups": "g", "priors": priors}
    fit = hm.fit(rows, **{k: v for k, v in given.items() if k != "data"}, draws=10, random_seed=1)
    exact = fit.reference()
    return [
        *_priors(),
        *_functions(rows, given, fit, folder),
        *_methods(fit, exact, rows, folder),
        *_pictures(fit, exact),
        *_datasets(),
        *_lecture(),
    ]


def _priors() -> Iterator[Call]:
    numbers = {"mean": 1.0, "sd": 1.0, "beta": 1.0, "alpha": 2.0, "nu": 3.0, "sigma": 1.0}
    numbers |= {"m": 0.0, "s": 1.0, "upper": 1.0, "value": 1.0, "eta": 1.0}
    for name in hm.__all__:
        kind = getattr(hm, name)
        if inspect.isclass(kind) and issubclass(kind, hm.Prior) and not inspect.isabstract(kind):
            parameters = inspect.signature(kind).parameters
            yield Call(name, kind, {p: numbers[p] for p in parameters})


def _functions(
    rows: pd.DataFrame, given: dict[str, Any], fit: hm.Fit, folder: Path
) -> Iterator[Call]:
    exact = fit.reference()
    few = {"draws": 10, "chains": 2, "random_seed": 1}
    alternatives = {"wide": {"tau": hm.HalfNormal(5)}}
    yield Call("fit", hm.fit, given | few)
    yield Call("reference", hm.reference, given)
    yield Call("two_level", hm.two_level, given)
    nested = rows.assign(h=list("aaaabbbb"))
    three = given | {"data": nested, "groups": ["h", "g"]}
    yield Call("three_level", hm.three_level, three)
    yield Call("build_model", hm.build_model, {"spec": fit.spec, "data": fit.data})
    yield Call("normal_inverse_gamma", hm.normal_inverse_gamma, {"data": rows, "outcome": "y"})
    yield Call("sensitivity", hm.sensitivity, given | {"priors": alternatives})
    simulations = {"simulations": 2, "draws": 19, "random_seed": 1, "engine": "exact"}
    yield Call("calibrate", hm.calibrate, given | simulations | {"progressbar": False})
    yield Call("compare", hm.compare, {"mcmc": fit, "exact": exact})
    reduced = {key: given[key] for key in ("data", "outcome", "groups")}
    yield Call("SufficientStatistics.of", hm.SufficientStatistics.of, reduced)
    yield Call("load", hm.load, {"path": folder / "nothing.nc"})
    yield Call("load_statistics", hm.load_statistics, {"path": folder / "nothing.nc"})
    roles = {"outcome": "y", "groups": ("g",)}
    yield Call("Spec", hm.Spec, roles)


def _methods(
    fit: hm.Fit, exact: hm.ReferencePosterior, rows: pd.DataFrame, folder: Path
) -> Iterator[Call]:
    needed = {
        "to_netcdf": {"path": folder / "fit.nc"},
        "to_parquet": {"path": folder / "fit.parquet"},
        "to_zarr": {"folder": folder / "fit.zarr"},
        "report": {"path": folder / "fit.html", "sensitivity": False},
        "cdf": {"var_name": "tau", "values": [1.0]},
        "density": {"var_name": "tau", "values": [1.0]},
        "moment_exists": {"name": "tau", "order": 1},
        "quantile": {"q": 0.5},
        "prob_greater": {"first": "a", "second": "b"},
    }
    variances = ("variance_moments", "variance_shares")
    asked = ("predictive", "how", "member_quantiles", "leave_out", "plug_in", *variances)
    internal = (*asked, "check_")  # not for users
    league, prediction = fit.rank(top=2), fit.predict(random_seed=1)
    comparison, statistics = (
        hm.compare(fit, exact),
        hm.SufficientStatistics.of(rows, outcome="y", groups="g"),
    )
    shown = fit.sensitivity({"wide": {"tau": hm.HalfNormal(5)}})
    for thing in (fit, exact, league, prediction, comparison, statistics, shown):
        for name in dir(type(thing)):
            function = getattr(type(thing), name)
            if name.startswith(("_", *internal)) or not inspect.isfunction(function):
                continue
            if (name in ("plot", "away", "check") and thing is not fit) or name.startswith("plot_"):
                continue
            yield Call(f"{type(thing).__name__}.{name}", getattr(thing, name), needed.get(name, {}))


def _pictures(fit: hm.Fit, exact: hm.ReferencePosterior) -> Iterator[Call]:
    given = {
        "posterior": fit.posterior,
        "comparison": hm.compare(fit, exact),
        "references": fit.sensitivity({"wide": {"tau": hm.HalfNormal(5)}}).references,
    }
    for name in plots.__all__:
        function = getattr(plots, name)
        first = next(iter(inspect.signature(function).parameters))
        yield Call(f"plots.{name}", function, {first: given[first]})


def _datasets() -> Iterator[Call]:
    for name in dir(datasets):
        function = getattr(datasets, name)
        if name.startswith(("load", "simulate")) and inspect.isfunction(function):
            parameters = inspect.signature(function).parameters.values()
            needed = {p.name: 3 for p in parameters if p.default is p.empty}
            yield Call(f"datasets.{name}", function, needed)


def _lecture() -> Iterator[Call]:
    given = {"y": [1.0, 2.0, 4.0, 3.0], "draws": 10, "rng": np.random.default_rng(1)}
    yield Call("lecture.draw_two_levels", hm.lecture.draw_two_levels, given | {"sigma": 1.0})
    prior = {"m": 0.0, "s": 1.0, "alpha": 2.0, "beta": 1.0}
    yield Call("lecture.draw_one_population", hm.lecture.draw_one_population, given | prior)
