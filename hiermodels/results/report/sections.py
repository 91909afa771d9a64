"""The sections of a page."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd

from hiermodels.data.covariates import AUTO
from hiermodels.data.grouped import GroupedRows, require_rows
from hiermodels.model.sampling import sampling_text
from hiermodels.model.standard_errors import KINDS, from_se
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.posterior.tables import CI_PROB, Summary, shown
from hiermodels.results.alternatives import compare_priors
from hiermodels.results.checks import check
from hiermodels.results.ranking import rank_members
from hiermodels.results.report.html import Html, Section, definitions, element, listing, table
from hiermodels.results.report.out_of_sample import out_of_sample
from hiermodels.results.report.parts import (
    draw,
    footnotes,
    heading,
    left_out,
    ordered,
    part,
    picture,
    pictures,
    small,
    summary_table,
)
from hiermodels.results.report.recipe import OPTIONS, command, random_seed, snippet
from hiermodels.results.report.subject import Subject
from hiermodels.results.shrinkage import estimate
from hiermodels.results.summary import summarize
from hiermodels.results.variance_components import variance_components

CHECK_SEED = 1  # of replicated data: the same for the table and the picture
MAX_WORK = 5e6  # points of the lattice times groups: about five seconds for all other priors
MOVED = 1e-4  # posterior sds that posteriors under other priors may err by
CHECKED_COPIES = 4  # of the replicated values that are held at the same time
PACKAGES = (
    *("hiermodels", "numpy", "scipy", "pandas", "xarray", "arviz-base", "arviz-stats"),
    *("arviz-plots", "matplotlib", "pymc", "nutpie"),
)


def sections(subject: Subject, progress: Callable[[str], object]) -> Iterator[Section]:
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
            "units": ("Groups", _members),
            "shrinkage": ("Shrinkage", _shrinkage),
            "league": ("League tables", _league),
            "trace": ("Estimates given the sds", _trace),
            "predictions": ("Predictions", out_of_sample),
            "checks": ("Predictive checks", _checks),
            "sensitivity": ("Sensitivity to the priors", _sensitivity),
        }
    parts["code"] = ("How to make this fit again", _code)
    for name, (title, make) in parts.items():
        progress(title)
        yield Section(name, title, tuple(part(make, subject)))


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
    roles = data.roles
    dropped = f", after {data.dropped:,} with missing values were dropped" if data.dropped else ""
    yield "rows", f"{len(data.y):,}{dropped}"
    mean = f"mean {shown(data.y.mean())}, sd {shown(data.outcome_sd)}"
    yield "outcome", f"{roles.outcome}: {_range(data.y)}, {mean}"
    for name, labels in zip(roles.groups, data.labels, strict=True):
        yield "groups", f"{name}: {len(labels):,}"
    every = zip(roles.groups, data.memberships, strict=True)
    counts = {f"rows of a {name}": np.bincount(member) for name, member in every}
    if not roles.nesting and counts:
        counts = {"rows in a group": counts[f"rows of a {roles.groups[-1]}"]}
    for what, sizes in counts.items():
        yield what, f"{_range(sizes)}, median {shown(np.median(sizes))}"
    if data.nested_by_chance:
        yield "note", "; ".join(data.nested_by_chance)
    for role, name in roles.columns.items():
        yield role.replace("_", " "), f"{name}: {_range(data.columns[role])}"
    if data.se is not None:
        known, name = from_se(data.se, roles.se_scale), f"{roles.se}: " if roles.se else ""
        yield f"known {KINDS[roles.se_scale]}", f"{name}{_range(known)}"
    if roles.sampling is not None:
        yield "covariance of errors", sampling_text(roles.sampling, roles.groups)
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
        *part(_how, subject),
        *summary_table(
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
    return summary_table(lambda: subject.reference.summary(subject.hyperparameters), caption)


def _variance(subject: Subject) -> list[Html]:
    from hiermodels.plots.variance import plot_variance

    return [
        *summary_table(
            lambda: variance_components(subject.reference), "Sds, variances and shares of the total"
        ),
        picture(
            plot_variance,
            subject.pictured,
            "Posterior densities of the standard deviations and of their shares of the variance",
            "Posteriors of the sds, and of each one's share of the variance where there are "
            "several: density, median and interval.",
        ),
    ]


def _members(subject: Subject) -> list[Html]:
    content: list[Html] = []
    for name, column in (subject.levels | subject.shown_levels).items():
        content += [heading(name, column), *part(_members_of, subject, name, column)]
    return content


def _members_of(subject: Subject, name: str, column: str) -> list[Html]:
    """A table of each effect of the groups of a level."""
    every, effects = subject.reference.summary([name]), subject.effects(name)
    scale = ", on the outcome's scale" if name in subject.posterior.spec.on_outcome_scale else ""
    content: list[Html] = []
    for place, effect in enumerate(effects):
        summary = every.iloc[place :: len(effects)]
        summary.index = pd.Index(subject.posterior.data.coords[column], name=column)
        frame, order = ordered(summary, "median")
        shown = name if effect is None else f"{name}[{effect}]"
        content.append(
            table(frame, f"Posterior of {shown}, the effect of each {column}{scale}{order}")
        )
    return [*content, footnotes(every.attrs["notes"])]


def _shrinkage(subject: Subject) -> list[Html]:
    from hiermodels.plots.shrinkage import plot_shrinkage

    spec, more = subject.posterior.spec, ", with its interval"
    word, raw = spec.family.raw_word, f"Raw {spec.family.raw_word}"
    own = "the group's own value" if spec.family.effect else f"the raw {word}"
    if spec.has_slopes:
        own, more = "least squares of its own rows", ""
    if spec.is_crossed:
        own, raw = "what all else leaves of its rows", "What all else leaves of the rows"
    return [
        *part(_estimates, subject),
        *pictures(
            plot_shrinkage,
            subject,
            f"{raw} and posterior {{centre}} of each {{column}}, joined by a line",
            f"{{name}}: from {own} (open) to the posterior {{centre}} (filled){more}.",
        ),
        *_lines(subject),
    ]


def _lines(subject: Subject) -> list[Html]:
    """The groups' lines, where slopes vary."""
    from hiermodels.plots.lines import plot_lines

    spec = subject.posterior.spec
    sloping = [level for level in spec.levels if level.has_slopes]
    return [
        picture(
            plot_lines,
            subject.pictured,
            f"Line of each {level.column} by least squares and by the posterior",
            f"Lines of each {level.column}: its rows, least squares of these alone, the posterior, "
            f"and the population (dashed).",
            level=level.effect,
        )
        for level in sloping
    ]


def _estimates(subject: Subject) -> list[Html]:
    """A table of the innermost groups; of crossed ones of each column."""
    found, spec = estimate(subject.reference, None, None, CI_PROB, AUTO), subject.posterior.spec
    raw, pooled = f"the group's own {spec.family.raw_word}", "one value for all"
    tables, parent = [found.table], "the parent"
    if spec.is_crossed:
        raw, pooled, parent = "what all else leaves of the group's rows", "no deviation", "0"
        tables = [own for own in (found.outermost, found.outer, found.table) if own is not None]
    words = f"raw: {raw}. pooled: {pooled}. eb: empirical Bayes. mean: of the posterior."
    if "shrinkage" in found.table:
        words += f" shrinkage: the weight of {parent}, from 0 (none) to 1 (full)."
    content = [element("p", words)]
    for estimates in tables:
        frame, order = ordered(estimates, "eb")
        caption = f"Estimates of each {estimates.index.names[0]}, without, with full and with "
        content.append(table(frame, f"{caption}partial pooling{order}"))
        content.append(footnotes(estimates.attrs["notes"]))
    return content


def _league(subject: Subject) -> list[Html]:
    from hiermodels.plots.caterpillar import plot_caterpillar

    content = [
        element(
            "p",
            "The rank of a group is a parameter like any other, and often uncertain: intervals of "
            "ranks that overlap are no order.",
        )
    ]
    for name, column in subject.levels.items():
        for effect in subject.effects(name):
            one = "deviations" if subject.posterior.spec.is_crossed else "values"
            of = one if effect is None else f"effects of {effect}"
            content += summary_table(
                partial(_ranks, subject, name, effect),
                f"Ranks of the {column} {of}, the best expected rank first",
            )
    alt = "Posterior {centre} and rank of each {column}, with intervals, the highest first"
    caption = "{name}: posterior {centre}s and ranks with their intervals, the highest first."
    return [*content, *pictures(plot_caterpillar, subject, alt, caption, by_effect=True)]


def _ranks(subject: Subject, name: str, effect: str | None) -> Summary:
    posterior, reference = subject.posterior, subject.reference
    return rank_members(posterior, reference, name, effect=effect, ci_prob=CI_PROB, at=AUTO).table


def _trace(subject: Subject) -> list[Html]:
    from hiermodels.plots.trace import plot_trace_tau

    return pictures(
        plot_trace_tau,
        subject,
        "Conditional posterior mean of each {column} as a line over the sd of their level, above "
        "the posterior density of that sd",
        "{name}: estimates given the sd of their level, above, and the posterior of that sd, which "
        "says what part of the picture matters, below.",
        by_effect=True,
    )


def _checks(subject: Subject) -> list[Html]:
    from hiermodels.plots.predictive import plot_ppc

    posterior = subject.posterior
    sizes = posterior.datatree["posterior"].sizes
    size = 8 * sizes["chain"] * sizes["draw"] * posterior.data.n_groups * CHECKED_COPIES
    if size > MEMORY_BUDGET:
        return [left_out(f"replicates of {posterior.data.n_groups:,} groups do not fit in memory")]
    return [
        element(
            "p",
            "Do the data look like data from the model? p is the probability of a larger value in "
            "replicated data; near 0 or 1 the model misfits in this respect.",
        ),
        *summary_table(
            lambda: check(posterior, random_seed=CHECK_SEED),
            "Statistics of the data, and of data replicated from the posterior",
        ),
        picture(
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
            left_out(
                "it would take more than a few seconds here; .report(…, sensitivity=True) includes "
                "it, and .sensitivity() computes it"
            )
        ]
    comparison = compare_priors(subject.reference, tol=MOVED)
    return [
        listing(comparison.verdict.splitlines()),
        *summary_table(
            lambda: comparison.table, "What moves, and how far, under other priors of the sds"
        ),
        *(
            [listing([f"{name}: {reason}" for name, reason in comparison.refused.items()])]
            if comparison.refused
            else []
        ),
        draw(
            comparison.plot,
            "Posterior median and interval of each hyperparameter under each prior",
            "Hyperparameters under other priors: median and interval; dashed: under the priors of "
            "this fit.",
        ),
    ]


def _is_wanted(subject: Subject) -> bool:
    """Whether to compare priors: as was asked, or where it is quick."""
    if subject.sensitivity is not None:
        return subject.sensitivity
    return subject.reference.n_points * sum(subject.posterior.data.sizes) <= MAX_WORK


def _code(subject: Subject) -> list[Html]:
    posterior = subject.posterior
    line = command(posterior, subject.source)
    content = [element("h3", "In Python"), element("pre", snippet(posterior, subject.source))]
    if random_seed(posterior) is None:
        content.append(small("No seed is known: other draws of the same posterior."))
    content.append(element("h3", "On the command line"))
    attrs = posterior.datatree["posterior"].attrs
    if line is None:
        content.append(element("p", "None: a prior or a name of a column needs Python."))
    else:
        content.append(element("pre", line))
        if any(name in attrs for name in OPTIONS):
            content.append(small("With the sampler's options at their defaults."))
    versions = {
        "Python": platform.python_version(),
        **{name: version_of(name) for name in PACKAGES},
    }
    return [*content, definitions(versions.items(), "Versions that made this page")]


def version_of(name: str) -> str:
    """Version of a package that is installed."""
    if name == "hiermodels":
        from hiermodels import __version__

        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
