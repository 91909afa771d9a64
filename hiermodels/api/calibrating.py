"""Simulation-based calibration: whether an engine finds the posterior, whatever the data.

Parameters are drawn from their priors and outcomes from the model.  Then each parameter is one
more draw from its posterior given the outcomes, and its rank among the engine's own draws is
uniform, in whatever part of the posterior (Talts et al. 2018).  Beside the parameters the log
likelihood is ranked: it finds engines whose draws have the right margins but do not look at the
data, or at all of them (Modrák et al. 2023).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.files import target
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.core.options import count
from hiermodels.core.progress import showing_progress
from hiermodels.core.seeds import Seed, integer_seed
from hiermodels.data.design import is_number
from hiermodels.data.grouped import GroupedData, GroupedRows, Missing, require_rows
from hiermodels.data.prepare import announce, prepare
from hiermodels.errors import DataError, SpecError
from hiermodels.families.normal import log_normal
from hiermodels.model.priors import Priors
from hiermodels.model.spec import Spec
from hiermodels.numerics import uniformity
from hiermodels.posterior.engine import Refit, get_refitter
from hiermodels.posterior.record import Posterior, group_draws, row_moments
from hiermodels.results.simulation import draw_outcomes, draw_variables, require_proper

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

type Result = dict[str, dict[str, Floats]]  # of a simulation: values by group and name

LOG_LIKELIHOOD = "log_likelihood"
CALIBRATION = "calibration"  # what a file holds beside the groups
GROUPS = ("prior_sbc", "sample_stats")  # of the DataTree; ArviZ looks for the first
QUALITY = ("divergences", "r_hat")  # attributes in which an engine says how it did
FEWEST = 10  # simulations
MOST_UNITS = 50  # of a level that are ranked
TYPICAL = 101  # simulated outcomes, of which the middle one by size is typical
SAVE_EVERY = 2.0  # seconds
BLOCK = 1_000_000  # rows times draws whose densities are held at once
WORST = 3  # quantities that a verdict names
CLEAR = 3.0  # standard errors from which on a mean or a spread counts as a deviation of its own
MOST_R_HAT = 1.05  # in one of many runs, few of which are looked at
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
            found = (
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
            found = (
                f"The posterior is NOT calibrated: {'; '.join(worst)}; {len(wrong)} of "
                f"{len(table)} quantities deviate in {several} at alpha = {self.alpha:g}."
            )
        return " ".join([found, *self._troubles()])

    def plot(self, *, backend: str | None = None, **pc_kwargs: Any) -> PlotCollection:
        """Show how far the distribution of the PIT values is from uniform.

        For each variable the difference of their distribution function from that of uniform
        values, a line for each unit, and the band that uniform values leave anywhere, in any of
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
            else:
                labels = values[values.dims[1]].to_numpy()
                columns |= {f"{name}[{u}]": values.to_numpy()[:, j] for j, u in enumerate(labels)}
        return pd.DataFrame(columns)

    def _troubles(self) -> list[str]:
        """What the engine itself found wrong, a sentence for each."""
        stats = self.datatree["sample_stats"].to_dataset()
        size, found = stats.sizes["draw"], []
        if "divergences" in stats and (count := int((stats["divergences"] > 0).sum())):
            found.append(f"Draws diverged in {count} of {size} simulations.")
        if "r_hat" in stats and (count := int((stats["r_hat"] > MOST_R_HAT).sum())):
            found.append(f"R-hat was above {MOST_R_HAT} in {count} of {size} simulations.")
        return found

    def __repr__(self) -> str:
        return f"{self.verdict}\n{self.table.to_string(**SHOWN)}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.verdict)}</p>{self.table.to_html(**SHOWN)}"


@checked
def calibrate(
    data: Any,
    formula: str | None = None,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | Literal[False] | None = None,
    variance: str | None = None,
    covariates: Sequence[str] | str | None = None,
    priors: Priors = None,
    missing: Missing = "error",
    engine: str | None = None,
    simulations: int = 200,
    draws: int = 250,
    chains: int = 4,
    alpha: float = 0.01,
    random_seed: Seed = None,
    progressbar: bool | None = None,
    path: str | os.PathLike[str] | None = None,
    **engine_options: Any,
) -> Calibration:
    """Calibrate an engine by simulation, for the design of some data and proper priors.

    Of the data the rows' groups, standard errors and covariates are taken.  Again and again
    parameters are drawn from the priors, outcomes from the model, and draws from the posterior by
    the engine.  If the engine is right, each parameter's rank among them is uniform.

    Parameters
    ----------
    data : data frame or Fit
        A fit brings its own model, data and engine.
    formula, outcome, groups, se, variance, covariates, priors, missing
        As in :func:`hiermodels.fit`.  Every prior must be proper.
    engine : {"exact", "nuts"}, optional
        ``"exact"``, or the fit's own.  A PyMC model is compiled once for all simulations, and
        its draws are thinned until they are about independent.
    simulations : int
        How many, at least 10.  Of a normal posterior, beside ten other quantities, an sd that is a
        third too small is found in 99 of 100 calibrations with 200 simulations, and in 71 with
        100; one that is a tenth too small in 1 with 200.
    draws, chains : int
        Of each posterior, before thinning.
    alpha : float
        Probability of a false alarm over all quantities together (Bonferroni).
    random_seed : int or numpy.random.Generator, optional
        The same seed gives the same bits.
    progressbar : bool, optional
        Whether to show progress; by default where there is a terminal.
    path : path, optional
        A netCDF file for finished simulations.  Where it exists already, the run that wrote it is
        continued, with the same result, bit for bit, as if it had never been interrupted; with
        more ``simulations`` it is extended.
    **engine_options
        As in :func:`hiermodels.fit`.  For NUTS: ``parameterization``, ``tune``, ``cores``,
        ``target_accept``, ``max_treedepth``, ``nuts``.

    Returns
    -------
    Calibration

    Raises
    ------
    SpecError
        If a prior is improper, or the file belongs to another calibration.
    DataError
        If the file cannot be written; what was there before is as it was.

    Notes
    -----
    Ranked are all scalars, and the log likelihood of all rows; of a level with more than 50
    units, 50 that are evenly spaced.

    References
    ----------
    Talts et al. (2018), arXiv:1804.06788; Säilynoja, Bürkner & Vehtari (2022), Statistics and
    Computing 32:32; Modrák et al. (2023), Bayesian Analysis (the log likelihood).

    Examples
    --------
    >>> import hiermodels as hm
    >>> priors = {"mu": hm.Normal(0, 10), "tau": hm.HalfNormal(10)}
    >>> schools = hm.datasets.load_eight_schools()
    >>> hm.calibrate(schools, priors=priors, simulations=50, random_seed=1).passed
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    True
    """
    _check(simulations, alpha)
    roles = {"outcome": outcome, "groups": groups, "se": se, "variance": variance}
    model = {"formula": formula, "covariates": covariates, "priors": priors}
    given: dict[str, Any] = roles | model
    if isinstance(getattr(data, "spec", None), Spec):
        _check_fit(given)
        spec, grouped = data.spec, data.data
        engine = engine or str(data.engine)
    else:
        spec, grouped = prepare(data, **given, missing=missing)
        announce(grouped)
        engine = engine or "exact"
    require_proper(spec, "a calibration")
    options = {"draws": draws, "chains": chains, **engine_options}
    rows = require_rows(grouped, "a calibration")
    record = _Record.of(path, _identity(spec, rows, engine, options), random_seed, spec, rows)
    if todo := range(record.finished, simulations):
        refit = get_refitter(engine)(spec, _typical(spec, rows, record.seed), **options)
        with (
            record.kept() as add,
            showing_progress("simulations", simulations, progressbar) as advance,
        ):
            advance(record.finished)
            for i in todo:
                add(_simulate(spec, rows, refit, record.seed, i))
                advance(1)
    return Calibration(spec, engine, record.datatree(simulations), alpha)


def _check(simulations: Any, alpha: float) -> None:
    count("simulations", simulations, FEWEST)
    if not (is_number(alpha) and 0 < alpha < 1):
        raise SpecError(f"alpha: expected a number between 0 and 1; found {alpha!r}")


def _check_fit(given: Mapping[str, Any]) -> None:
    """Refuse what a fit says already."""
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise SpecError(f"a fit says what {extra[0]} is; leave out {extra[0]}=…, or give the data")


def _typical(spec: Spec, data: GroupedRows, seed: int) -> GroupedRows:
    """Replace the outcome by a simulated one of middle size."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    outcomes = draw_outcomes(spec, data, draw_variables(spec, data, TYPICAL, rng), rng)
    size = np.abs(outcomes - np.median(outcomes)).max(axis=1)
    return replace(data, y=outcomes[np.argsort(size, kind="stable")[TYPICAL // 2]])


def _simulate(spec: Spec, data: GroupedRows, refit: Refit, seed: int, i: int) -> Result:
    """Make a simulation, which depends on the seed and on its number i alone."""
    streams = np.random.SeedSequence(seed, spawn_key=(1, i)).spawn(3)
    rng = np.random.default_rng(streams[0])
    truth = draw_variables(spec, data, 1, rng)
    simulated = replace(data, y=draw_outcomes(spec, data, truth, rng)[0])
    try:
        posterior = refit(simulated, streams[1])
    except Exception as error:
        error.add_note(f"This was simulation {i} of a calibration with random_seed={seed}.")
        raise
    draws = _draws(posterior)
    for variables in (truth, draws):
        variables[LOG_LIKELIHOOD] = _log_likelihood(spec, simulated, variables)
    rng = np.random.default_rng(streams[2])
    pits = {name: _transform(truth[name][0], draws[name], rng) for name in truth}
    ranked = {name: pit[_ranked_units(len(pit))] if pit.ndim else pit for name, pit in pits.items()}
    attrs = posterior.datatree["posterior"].attrs
    quality = {name: np.asarray(attrs[name]) for name in QUALITY if name in attrs}
    return {
        "prior_sbc": ranked,
        "sample_stats": {"draws": np.asarray(len(draws[LOG_LIKELIHOOD])), **quality},
    }


def _draws(posterior: Posterior) -> dict[str, Floats]:
    """Draws of all variables, scalars (L,) and values (L, units), whatever chain they are from."""
    dataset = posterior.datatree["posterior"].to_dataset()
    if posterior.draw_groups is not None:
        dataset = dataset.assign(theta=group_draws(posterior))
    found = {name: dataset[name].to_numpy() for name in posterior.spec.variables}
    return {name: values.reshape(-1, *values.shape[2:]) for name, values in found.items()}


def _log_likelihood(spec: Spec, data: GroupedData, variables: Mapping[str, Floats]) -> Floats:
    """Log likelihood of all rows given each draw of the variables; (L,)."""
    size = len(variables[spec.values[0]])
    step = max(BLOCK // len(data.y), 1)
    blocks = []
    for start in range(0, size, step):
        some = {name: values[start : start + step] for name, values in variables.items()}
        blocks.append(log_normal(data.y, *row_moments(spec, data, some)).sum(axis=-1))
    return np.concatenate(blocks)


def _transform(truth: Floats, draws: Floats, rng: np.random.Generator) -> Floats:
    """Rank true values (...,) among draws (L, ...), as numbers between 0 and 1.

    With b draws below and t equal to the truth, ``(b + U (t + 1))/(L + 1)``, U uniform: exactly
    uniform if the truth is one more independent draw, for any L and with ties.
    """
    below = (draws < truth).sum(axis=0)
    ties = (draws == truth).sum(axis=0)
    return (below + rng.random(below.shape) * (ties + 1)) / (len(draws) + 1)


def _ranked_units(size: int) -> Indices:
    """Units of a level that are ranked: all, or as many as there may be, evenly spaced."""
    return np.arange(size)[:: -(-size // MOST_UNITS)]


def _deviation(pits: Floats) -> str:
    """What PIT values that are not uniform say of the posterior.

    If they are uniform, their mean has the variance 1/(12 n), and the mean of ``(pit − ½)²``
    1/(180 n).  Named is the larger deviation, and the other one if it is clear beside it.
    """
    n = len(pits)
    shift = (pits.mean() - 1 / 2) * np.sqrt(12 * n)
    spread = (((pits - 1 / 2) ** 2).mean() - 1 / 12) * np.sqrt(180 * n)
    found = {
        "too low" if shift > 0 else "too high": abs(shift),
        "too narrow" if spread > 0 else "too wide": abs(spread),
    }
    least = max(CLEAR, max(found.values()) / 2)
    clear = [text for text in sorted(found, key=lambda t: -found[t]) if found[text] >= least]
    return " and ".join(clear) or "of another shape"


def _identity(
    spec: Spec, data: GroupedData, engine: str, options: Mapping[str, Any]
) -> dict[str, str]:
    """What a calibration depends on beside its seed, by the name that a message gives it."""
    digest = hashlib.sha256()
    arrays = (data.group, *data.parents, *data.labels, data.design.matrix)
    for array in (*arrays, *([] if data.se is None else [data.se])):
        digest.update(
            f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    priors = [f"{name} ~ {prior!r}" for name, prior in spec.priors.items()]
    return {
        "model": "; ".join([*spec.describe(), *spec.covariates, *priors]),
        "rows": digest.hexdigest(),
        "engine": engine,
        "options": ", ".join(f"{name}={value!r}" for name, value in sorted(options.items())),
    }


@dataclass
class _Record:
    """Finished simulations, in memory and, if there is a path, on disk.

    Attributes
    ----------
    path : Path or None
    identity : dict of str to str
    seed : int
    coords, dims : dict
        Of the ranked variables.
    results : list of Result
    """

    path: Path | None
    identity: dict[str, str]
    seed: int
    coords: dict[str, Any]
    dims: dict[str, list[str]]
    results: list[Result]

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str] | None,
        identity: dict[str, str],
        random_seed: Seed,
        spec: Spec,
        data: GroupedData,
    ) -> _Record:
        """Begin, or go on from what the file holds."""
        place = None if path is None else Path(path)
        coords = {name: labels[_ranked_units(len(labels))] for name, labels in data.coords.items()}
        dims = {name: list(spec.dims(name)) for name in spec.variables}
        if place is None or not place.exists():
            if place is not None:
                target(place)
            seed = integer_seed(random_seed)
            return cls(place, identity, seed, coords, dims, [])
        seed, results = _load(place, identity, random_seed)
        return cls(place, identity, seed, coords, dims, results)

    @property
    def finished(self) -> int:
        """Number of finished simulations."""
        return len(self.results)

    def datatree(self, simulations: int) -> xr.DataTree:
        """Lay out the first simulations as ArviZ expects it."""
        from arviz_base import from_dict

        some = self.results[:simulations]
        groups = {
            group: {name: np.stack([r[group][name] for r in some])[None] for name in values}
            for group, values in some[0].items()
        }
        tree = from_dict(groups, coords=self.coords, dims=self.dims, check_conventions=False)
        tree.attrs[CALIBRATION] = json.dumps({**self.identity, "random_seed": str(self.seed)})
        return tree

    @contextmanager
    def kept(self) -> Iterator[Callable[[Result], None]]:
        """Give a function that adds a result; write the file now and then, and at the end."""
        saved = time.monotonic()

        def add(result: Result) -> None:
            nonlocal saved
            self.results.append(result)
            if time.monotonic() - saved > SAVE_EVERY:
                self.save()
                saved = time.monotonic()

        try:
            yield add
        finally:
            self.save()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self.path is None or not self.results:
            return
        from hiermodels.core.container import groups_of, write

        groups = groups_of(self.datatree(self.finished))
        write(self.path, groups, {CALIBRATION: {**self.identity, "random_seed": self.seed}})


def _load(path: Path, identity: Mapping[str, str], random_seed: Seed) -> tuple[int, list[Result]]:
    """Read the seed and the results of the same calibration.

    Raises
    ------
    SpecError
        If the file is none of ours, or that of another calibration.
    """
    from hiermodels.core.container import read

    remedy = "Give another path, or remove this file to begin anew"
    try:
        whole, content = read(path)
    except DataError as error:
        raise SpecError(
            f"path: {str(path)!r} does not hold a calibration. {remedy}. What is wrong: {error}"
        ) from error
    if CALIBRATION not in content:
        raise SpecError(f"path: {str(path)!r} does not hold a calibration. {remedy}")
    found = content[CALIBRATION]
    groups = {name: whole[f"/{name}"].isel(chain=0) for name in GROUPS}
    wanted: dict[str, Any] = dict(identity)
    if random_seed is not None:
        wanted["random_seed"] = integer_seed(random_seed)
    other = [name for name, value in wanted.items() if found.get(name) != value]
    if other:
        name = other[0]
        raise SpecError(
            f"path: {str(path)!r} holds a calibration of another {', '.join(other)}: expected "
            f"{str(wanted[name])!r}, found {str(found.get(name))!r}. {remedy}"
        )
    arrays = {
        group: {str(name): values.to_numpy() for name, values in dataset.items()}
        for group, dataset in groups.items()
    }
    size = groups["prior_sbc"].sizes["draw"]
    return found["random_seed"], [
        {group: {name: v[i] for name, v in values.items()} for group, values in arrays.items()}
        for i in range(size)
    ]


def _plot(
    calibration: Calibration, backend: str | None, pc_kwargs: dict[str, Any]
) -> PlotCollection:
    """Draw with arviz-plots, with the band of our own test in place of its p-values."""
    import arviz_plots as azp
    from arviz_base import rcParams

    pits = calibration.datatree["prior_sbc"].to_dataset()
    quantities = len(calibration.table)
    points, lower, upper = uniformity.band(pits.sizes["draw"], calibration.alpha / quantities)
    units = [dim for dim in pits.dims if dim not in SAMPLE_DIMS]
    overlays = {f"overlay_{dim}": [dim] for dim in units}
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
