"""A fit as one page: what was assumed and observed, what came out, and how to do it again."""

from __future__ import annotations

import io
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.files import replacing, target
from hiermodels.data.grouped import GroupedRows, require_rows
from hiermodels.errors import HierModelsError, PriorWarning
from hiermodels.exact.grid import Grid
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.model.priors import FlatVariance
from hiermodels.model.spec import Spec
from hiermodels.model.standard_errors import KINDS, from_se
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.posterior.moments import MEAN
from hiermodels.posterior.record import WARNING, Posterior
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import CI_PROB, Summary, shown
from hiermodels.results.alternatives import compare_priors
from hiermodels.results.checks import check
from hiermodels.results.default_prior import warn_of_default_prior
from hiermodels.results.page import (
    MOST_ROWS,
    Html,
    Picture,
    Section,
    definitions,
    element,
    figure,
    listing,
    page,
    table,
)
from hiermodels.results.ranking import rank_units
from hiermodels.results.recipe import OPTIONS, command, random_seed, snippet
from hiermodels.results.shrinkage import estimate
from hiermodels.results.summary import summarize
from hiermodels.results.variance_components import variance_components

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

CHECK_SEED = 1  # of replicated data: the same for the table and the picture
DOTS_PER_INCH = 150  # of pictures,
PIXELS_PER_INCH = 100  # shown smaller, for screens that are finer
MOST_PICTURED = 1000  # units that a picture can tell anything of
LONGEST_LABEL = 32  # characters, in pictures
MOST_WORK = 5e6  # points of the lattice times units: about five seconds for all other priors
CHECKED_COPIES = 4  # of the replicated values that are held at the same time
PACKAGES = (
    *("hiermodels", "numpy", "scipy", "pandas", "xarray", "arviz-base", "arviz-stats"),
    *("arviz-plots", "matplotlib", "pymc", "nutpie"),
)


@dataclass(frozen=True)
class Subject:
    """What a page is about.

    Attributes
    ----------
    posterior : Posterior
    make_reference : callable
        Gives the reference posterior of the same model and data.
    source : str or None
        File that the data were read from.
    sensitivity : bool or None
        Whether to compare priors; None for: where it is quick.
    """

    posterior: Posterior
    make_reference: Callable[[], ReferencePosterior]
    source: str | None
    sensitivity: bool | None

    @property
    def reference(self) -> ReferencePosterior:
        """The posterior without Monte Carlo error."""
        return self.make_reference()

    @property
    def levels(self) -> dict[str, str]:
        """Names of the units' values and their columns, from the top downwards."""
        spec = self.posterior.spec
        return {name: spec.dims(name)[0] for name in reversed(spec.values) if spec.dims(name)}

    @property
    def hyperparameters(self) -> list[str]:
        """Names of the variables that are not of units."""
        return [name for name in self.posterior.spec.variables if name not in self.levels]

    @cached_property
    def pictured(self) -> Posterior:
        """The posterior with labels that fit into a picture."""
        return with_short_labels(self.posterior)


def write(
    posterior: Posterior,
    reference: Callable[[], ReferencePosterior],
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    title: str | None = None,
    sensitivity: bool | None = None,
    progress: Callable[[str], object] | None = None,
) -> Path:
    """Write the page of a fit, whole or not at all.

    Parameters
    ----------
    posterior : Posterior
    reference : callable
        Gives the reference posterior of the same model and data.
    path, source, title, sensitivity, progress
        As in :meth:`hiermodels.Fit.report`.
    """
    target(path)
    require_rows(posterior.data, "report")
    subject = Subject(posterior, reference, source, sensitivity)
    kind = "Normal hierarchical model" if posterior.spec.groups else "Normal model"
    title = f"{kind} of {posterior.spec.outcome}" if title is None else title
    sections = list(_sections(subject, progress or (lambda _: None)))
    text = page(title, _lead(subject), sections, f"hiermodels {_version('hiermodels')}")
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", errors="replace"))
    return Path(path)


def _sections(subject: Subject, progress: Callable[[str], object]) -> Iterator[Section]:
    """Make the sections that apply."""
    parts: dict[str, tuple[str, Callable[[Subject], list[Html]]]] = {
        "model": ("Model and priors", _model),
        "data": ("Data", _data),
        "draws": ("Computation", _draws),
        "hyperparameters": ("Hyperparameters" if subject.levels else "Parameters", _scalars),
    }
    if subject.levels:
        parts |= {
            "variance": ("Variance components", _variance),
            "units": ("Groups", _units),
            "shrinkage": ("Shrinkage", _shrinkage),
            "league": ("League tables", _league),
            "trace": ("Estimates given the sds", _trace),
            "checks": ("Predictive checks", _checks),
            "sensitivity": ("Sensitivity to the priors", _sensitivity),
        }
    parts["code"] = ("How to make this fit again", _code)
    for name, (title, make) in parts.items():
        progress(title)
        yield Section(name, title, tuple(_part(make, subject)))


def _part(make: Callable[..., list[Html]], *arguments: Any) -> list[Html]:
    """Make a part of a page, or say why it cannot be made: the others stand without it."""
    try:
        return make(*arguments)
    except HierModelsError as error:
        return [_left_out(str(error).rstrip("."))]
    except Exception as error:  # of a library, of which nothing is known
        return [_left_out(f"{type(error).__name__}: {error}".rstrip("."))]


def _lead(subject: Subject) -> list[Html]:
    """What to know before all else: the size of the data, and warnings."""
    data = f"{subject.posterior.data}"
    data += f", from {subject.source}" if subject.source else ""
    lead = [element("p", f"{data}. Intervals are {CI_PROB:.0%} equal-tailed ones.")]
    notes = [element("p", element("strong", "Note. "), note) for note in _warnings(subject)]
    return [*lead, *([element("div", *notes, class_="note", role="note")] if notes else [])]


def _warnings(subject: Subject) -> list[str]:
    """What there is to warn of: draws that cannot be trusted, a default prior that matters."""
    posterior, spec = subject.posterior, subject.posterior.spec
    found = [posterior.certificate[WARNING]] if WARNING in posterior.certificate else []
    stated = {name: spec.priors[name] for name in spec.spreads if not _is_default(spec, name)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PriorWarning)
        warn_of_default_prior(Grid(spec, posterior.data), stated)
    found += [str(each.message) for each in caught]
    return found


def _is_default(spec: Spec, name: str) -> bool:
    return spec.priors[name] == FlatVariance()


def _model(subject: Subject) -> list[Html]:
    spec = subject.posterior.spec
    return [
        element("pre", "\n".join(spec.describe())),
        element("p", "Normal(mean, sd): the second argument is a standard deviation."),
        definitions(spec.describe_priors().items(), "Priors, and the scale that each is stated on"),
    ]


def _data(subject: Subject) -> list[Html]:
    return [
        definitions(
            _roles(require_rows(subject.posterior.data, "report")), "Columns and their roles"
        )
    ]


def _roles(data: GroupedRows) -> Iterator[tuple[str, str]]:
    """What each column is, and what is in it."""
    roles, sizes = data.roles, np.bincount(data.group)
    dropped = f", after {data.dropped:,} with missing values were dropped" if data.dropped else ""
    yield "rows", f"{len(data.y):,}{dropped}"
    mean = f"mean {shown(data.y.mean())}, sd {shown(data.outcome_sd)}"
    yield "outcome", f"{roles.outcome}: {_range(data.y)}, {mean}"
    for name, labels in zip(roles.groups, data.labels, strict=True):
        yield "groups", f"{name}: {len(labels):,}"
    if data.labels:
        yield "rows in a group", f"{_range(sizes)}, median {shown(np.median(sizes))}"
    if data.se is not None:
        known = from_se(data.se, roles.se_scale)
        yield f"known {KINDS[roles.se_scale]}", f"{roles.se}: {_range(known)}"
    if data.design.names:
        yield "covariates", ", ".join(data.design.names)


def _range(values: Any) -> str:
    low, high = shown(values.min()), shown(values.max())
    return low if low == high else f"{low} to {high}"


def _draws(subject: Subject) -> list[Html]:
    posterior, seed = subject.posterior, random_seed(subject.posterior)
    sizes = posterior.datatree["posterior"].sizes
    rows = {
        "engine": f"{posterior.engine}, {sizes['chain']} chains × {sizes['draw']} draws",
        "seed": "not known" if seed is None else str(seed),
        **posterior.certificate,
    }
    caption = "ArviZ's summary of the draws, with their Monte Carlo error"
    return [
        definitions(rows.items(), "How the posterior was computed"),
        *_part(_how, subject),
        *_table(
            lambda: summarize(posterior, subject.hyperparameters, kind="all", round_to="none"),
            caption,
        ),
    ]


def _how(subject: Subject) -> list[Html]:
    """How the tables without Monte Carlo error were made."""
    rows = [line.partition(": ") for line in subject.reference.how()]
    return [definitions([(name, text) for name, _, text in rows], "Tables made without draws")]


def _scalars(subject: Subject) -> list[Html]:
    caption = "Posterior of the sds, means and coefficients"
    return _table(lambda: subject.reference.summary(subject.hyperparameters), caption)


def _variance(subject: Subject) -> list[Html]:
    from hiermodels.plots.variance import plot_variance

    return [
        *_table(
            lambda: variance_components(subject.reference), "Sds, variances and shares of the total"
        ),
        _picture(
            plot_variance,
            subject.pictured,
            "Posterior densities of the standard deviations and of their shares of the variance",
            "Posteriors of the sds, and of each one's share of the variance where there are "
            "several: density, median and interval.",
        ),
    ]


def _units(subject: Subject) -> list[Html]:
    content: list[Html] = []
    for name, column in subject.levels.items():
        content += [_heading(name, column), *_part(_units_of, subject, name, column)]
    return content


def _units_of(subject: Subject, name: str, column: str) -> list[Html]:
    found = subject.reference.summary([name])
    notes = found.attrs["notes"]
    found.index = pd.Index(subject.posterior.data.coords[column], name=column)
    frame, order = _ordered(found, "median")
    return [table(frame, f"Posterior of {name}, the value of each {column}{order}"), _notes(notes)]


def _shrinkage(subject: Subject) -> list[Html]:
    from hiermodels.plots.shrinkage import plot_shrinkage

    return [
        *_part(_estimates, subject),
        *_pictures(
            plot_shrinkage,
            subject,
            "Raw mean and posterior {centre} of each {column}, joined by a line",
            "{name}: from the raw mean (open) to the posterior {centre} (filled), with its "
            "interval.",
        ),
    ]


def _estimates(subject: Subject) -> list[Html]:
    found = estimate(subject.reference).table
    frame, order = _ordered(found, "eb")
    column = subject.posterior.spec.groups[-1]
    caption = f"Estimates of each {column}, without, with full and with partial pooling{order}"
    return [
        element(
            "p",
            "raw: the group's own mean. pooled: one value for all. eb: empirical Bayes. mean: of "
            "the posterior. shrinkage: the weight of the parent, from 0 (none) to 1 (full).",
        ),
        table(frame, caption),
        _notes(found.attrs["notes"]),
    ]


def _league(subject: Subject) -> list[Html]:
    from hiermodels.plots.caterpillar import plot_caterpillar

    content = [
        element(
            "p",
            "The rank of a unit is a parameter like any other, and often uncertain: intervals of "
            "ranks that overlap are no order.",
        )
    ]
    for name, column in subject.levels.items():
        content += _table(
            partial(_ranks, subject, name),
            f"Ranks of the {column} values, the best expected rank first",
        )
    alt = "Posterior {centre} and rank of each {column}, with intervals, the highest first"
    caption = "{name}: posterior {centre}s and ranks with their intervals, the highest first."
    return [*content, *_pictures(plot_caterpillar, subject, alt, caption)]


def _ranks(subject: Subject, name: str) -> Summary:
    return rank_units(subject.posterior, subject.reference, name).table


def _trace(subject: Subject) -> list[Html]:
    from hiermodels.plots.trace import plot_trace_tau

    return _pictures(
        plot_trace_tau,
        subject,
        "Conditional posterior mean of each {column} as a line over the sd of their level, above "
        "the posterior density of that sd",
        "{name}: estimates given the sd of their level, above, and the posterior of that sd, which "
        "says what part of the picture matters, below.",
    )


def _checks(subject: Subject) -> list[Html]:
    from hiermodels.plots.predictive import plot_ppc

    posterior = subject.posterior
    sizes = posterior.datatree["posterior"].sizes
    size = 8 * sizes["chain"] * sizes["draw"] * posterior.data.sizes[0] * CHECKED_COPIES
    if size > MEMORY_BUDGET:
        return [_left_out(f"replicates of {posterior.data.sizes[0]:,} groups do not fit in memory")]
    return [
        element(
            "p",
            "Do the data look like data from the model? p is the probability of a larger value in "
            "replicated data; near 0 or 1 the model misfits in this respect.",
        ),
        *_table(
            lambda: check(posterior, random_seed=CHECK_SEED),
            "Statistics of the data, and of data replicated from the posterior",
        ),
        _picture(
            plot_ppc,
            subject.pictured,
            "Densities of replicated statistics, each with the observed value as a line",
            "Statistics of replicated data (densities) and of the data (lines).",
            random_seed=CHECK_SEED,
        ),
    ]


def _sensitivity(subject: Subject) -> list[Html]:
    if not _is_wanted(subject):
        return [
            _left_out(
                "it would take more than a few seconds here; .report(…, sensitivity=True) includes "
                "it, and .sensitivity() computes it"
            )
        ]
    found = compare_priors(subject.reference)
    return [
        listing(found.verdict.splitlines()),
        *_table(lambda: found.table, "What moves, and how far, under other priors of the sds"),
        *(
            [listing([f"{name}: {reason}" for name, reason in found.refused.items()])]
            if found.refused
            else []
        ),
        _draw(
            found.plot,
            "Posterior median and interval of each hyperparameter under each prior",
            "Hyperparameters under other priors: median and interval; dashed: under the priors of "
            "this fit.",
        ),
    ]


def _is_wanted(subject: Subject) -> bool:
    """Whether to compare priors: as was asked, or where it is quick."""
    if subject.sensitivity is not None:
        return subject.sensitivity
    reference = subject.reference
    assert isinstance(reference, IntegratedPosterior)
    return len(reference.lattice) * sum(reference.data.sizes) <= MOST_WORK


def _code(subject: Subject) -> list[Html]:
    posterior = subject.posterior
    line = command(posterior, subject.source)
    content = [element("h3", "In Python"), element("pre", snippet(posterior, subject.source))]
    if random_seed(posterior) is None:
        content.append(_small("No seed is known: other draws of the same posterior."))
    content.append(element("h3", "On the command line"))
    attrs = posterior.datatree["posterior"].attrs
    if line is None:
        content.append(element("p", "None: a prior or a name of a column needs Python."))
    else:
        content.append(element("pre", line))
        if any(name in attrs for name in OPTIONS):
            content.append(_small("With the sampler's options at their defaults."))
    versions = {"Python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    return [*content, definitions(versions.items(), "Versions that made this page")]


def _version(name: str) -> str:
    if name == "hiermodels":
        from hiermodels import __version__

        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _heading(name: str, column: str) -> Html:
    return element("h3", f"{name}[{column}]")


def _small(text: str) -> Html:
    return element("p", text, class_="small")


def _notes(notes: list[str]) -> Html:
    return _small("; ".join(notes) + ".")


def _left_out(reason: str) -> Html:
    return element("p", f"Left out: {reason}.")


def _table(make: Callable[[], Summary], caption: str) -> list[Html]:
    """A table and what it says of itself, or why there is none."""

    def made() -> list[Html]:
        found = make()
        return [table(found, caption), _notes(found.attrs["notes"])]

    return _part(made)


def _ordered(frame: pd.DataFrame, column: str) -> tuple[pd.DataFrame, str]:
    """Sort a table of which only the ends are shown, and say so."""
    if len(frame) <= MOST_ROWS:
        return frame, ""
    return frame.sort_values(
        column, ascending=False, kind="stable"
    ), f", the highest {column} first"


def _pictures(
    plot: Callable[..., PlotCollection], subject: Subject, alt: str, caption: str
) -> list[Html]:
    """A picture of each level, where it is not too crowded to tell anything."""
    content = []
    for name, column in subject.levels.items():
        units = len(subject.posterior.data.coords[column])
        content.append(_heading(name, column))
        if units > MOST_PICTURED:
            content.append(_left_out(f"a picture of {units:,} units would tell nothing"))
        else:
            centre = "mean" if subject.reference.moment_exists(name, MEAN) else "median"
            words = {"name": name, "column": column, "centre": centre}
            texts = (alt.format(**words), caption.format(**words))
            content.append(_picture(plot, subject.pictured, *texts, level=name))
    return content


def _picture(
    plot: Callable[..., PlotCollection],
    posterior: Posterior,
    alt: str,
    caption: str,
    **options: Any,
) -> Html:
    return _draw(lambda **own: plot(posterior, **options, **own), alt, caption)


def _draw(plot: Callable[..., PlotCollection], alt: str, caption: str) -> Html:
    """Draw a picture, or say why there is none."""
    (content,) = _part(lambda: [_drawn(plot, alt, caption)])
    return content


def _drawn(plot: Callable[..., PlotCollection], alt: str, caption: str) -> Html:
    """Draw with matplotlib in its own style, dollars in labels being dollars."""
    import matplotlib.pyplot as plt

    style: list[Any] = ["default", {"text.parse_math": False}]
    with plt.style.context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # then a box stands for it
        drawn = plot(backend="matplotlib").get_viz("figure")
        try:
            buffer = io.BytesIO()
            drawn.savefig(buffer, dpi=DOTS_PER_INCH, format="png", metadata={"Software": None})
            width, height = (round(side * PIXELS_PER_INCH) for side in drawn.get_size_inches())
        finally:
            plt.close(drawn)
    return figure(Picture(buffer.getvalue(), width, height), alt, caption)


def with_short_labels(posterior: Posterior) -> Posterior:
    """Cut long labels of units, and number those that are then alike; for pictures."""
    data, columns = require_rows(posterior.data, "report"), posterior.spec.groups
    labels = tuple(map(_short, data.labels))
    tree = posterior.datatree.copy()
    draws = tree["posterior"].to_dataset()
    coords: dict[str, Any] = {
        name: short for name, short in zip(columns, labels, strict=True) if name in draws.coords
    }
    tree["posterior"] = xr.DataTree(draws.assign_coords(coords))
    return replace(posterior, data=replace(data, labels=labels), datatree=tree)


def _short(labels: Any) -> Any:
    if labels.dtype.kind != "U":
        return labels
    seen: dict[str, int] = {}
    found = []
    for label in labels.tolist():
        text = " ".join(label.split()) or "·"
        text = text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
        seen[text] = seen.get(text, 0) + 1
        found.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return np.array(found)
