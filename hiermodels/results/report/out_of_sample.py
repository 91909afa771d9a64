"""Sections of a page on what was not observed: predictions, and units that are left out."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from hiermodels.core.messages import plural
from hiermodels.data.covariates import MEANS
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.tables import CI_PROB, interval_note
from hiermodels.results.loo import ExactLOO, leave_one_out
from hiermodels.results.predicting import predict
from hiermodels.results.report.html import Html, element, listing, table
from hiermodels.results.report.parts import footnotes, left_out, part
from hiermodels.results.report.subject import Subject

MAX_PREDICTED = 5e6  # points of the lattice times rows that are predicted: some five seconds
MAX_LEFT_OUT = 2.5e7  # points of the lattice times terms of a sum: ten seconds at the most
CROSSED = 4  # times the work of other groups' terms, that crossed ones take
OWN_TERMS = 20  # of a crossed group beside those of the groups that it is crossed with


def predictions(subject: Subject) -> list[Html]:
    """Predict a row of each known group, and of new ones."""
    posterior = subject.posterior
    found = predict(
        posterior,
        lambda: subject.reference,
        None,
        at=MEANS,
        outcomes=True,
        random_seed=None,
        memory_budget=MEMORY_BUDGET,
    )
    if subject.reference.n_points * len(found) > MAX_PREDICTED:
        return [left_out(f"it would take long for {len(found):,} groups; .predict() computes it")]
    frame, outcome = found.to_frame(CI_PROB), posterior.spec.outcome
    mean, name = found.names[0], found.names[-1]
    frame = frame.rename(columns={"mean": mean, "sd": f"{mean}_sd"}).reset_index(drop=True)
    words = (
        f"What another row would be of each group, and of one that is new. {mean} and {mean}_sd "
        f"are of the mean of such rows; what begins with {name} is of one {outcome}."
    )
    if posterior.spec.is_crossed:
        words += (
            " Beside a known group, those that are crossed with it are new; .predict(new_data) has "
            "any others."
        )
    notes = [interval_note(CI_PROB), *found.notes, *frame.attrs.get("notes", [])]
    caption = "Predictions of rows of known groups, and of new ones"
    return [element("p", words), table(frame.set_index("kind"), caption), footnotes(notes)]


def cross_validation(subject: Subject) -> list[Html]:
    """Leave out rows, and groups of each column, one at a time."""
    posterior, rows, content = subject.posterior, {}, []
    for unit in ("row", *subject.levels.values()):
        if subject.reference.n_points * _terms(posterior, unit) > MAX_LEFT_OUT:
            content.append(f"{unit}: left out, as it would take long; .loo({unit!r}) computes it")
            continue
        found = _loo(subject, unit)
        worst = int(np.nanargmin(found.elpd_i.to_numpy()))
        rows[unit] = {
            "units": found.n_data_points,
            "elpd": found.elpd,
            "se": found.se,
            "p": found.p,
            "lowest": str(found.elpd_i[unit].to_numpy()[worst]),
            "its elpd": float(found.elpd_i[worst]),
        }
        if found.reasons:
            few, (label, reason) = len(found.reasons), next(iter(found.reasons.items()))
            content.append(
                f"{few} {unit}{plural(few)} cannot be left out, so that elpd is not known. Of "
                f"{label}: {reason}"
            )
    words = (
        "How well is each unit predicted by all others? elpd is the sum of the log densities of "
        "units that are left out, higher for a better model of the same data; p is about the "
        "number of parameters that the units tell of. There is no Monte Carlo error."
    )
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("left out")
    caption = "Units that are left out, one at a time, and the one that is predicted least well"
    shown = [element("p", words), table(frame, caption)] if rows else []
    return [*shown, *([listing(content)] if content else [])]


def _loo(subject: Subject, unit: str) -> ExactLOO:
    """Units that cannot be left out are told of on the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return leave_one_out(subject.reference, unit)


def _terms(posterior: Posterior, unit: str) -> int:
    """Of how many terms the work at each point is, of all units together."""
    data = posterior.data
    if not posterior.spec.is_crossed:
        return data.n_rows
    if unit == "row":
        return CROSSED * data.n_rows
    size = len(data.coords[unit])
    return CROSSED * size * (sum(data.sizes) - size + OWN_TERMS)


def out_of_sample(subject: Subject) -> list[Html]:
    """Both."""
    return [
        *part(predictions, subject),
        element("h3", "Leave-one-out cross-validation"),
        *part(cross_validation, subject),
    ]
