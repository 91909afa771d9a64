"""A fit as one page: what was assumed and observed, what came out, and how to do it again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

from hiermodels.core.files import replacing, target
from hiermodels.data.grouped import require_rows
from hiermodels.errors import PriorWarning
from hiermodels.exact.grid import grid_of
from hiermodels.model.priors.variance import FlatVariance
from hiermodels.model.spec import Spec
from hiermodels.posterior.record import WARNING, Posterior
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import CI_PROB
from hiermodels.results.default_prior import warn_of_default_prior
from hiermodels.results.report.html import Html, element, page
from hiermodels.results.report.sections import sections, version_of
from hiermodels.results.report.subject import Subject


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
    """Write the page of a fit atomically.

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
    family = posterior.spec.family.name.replace("_", " ").capitalize()
    kind = f"{family} hierarchical model" if posterior.spec.groups else f"{family} model"
    title = f"{kind} of {posterior.spec.outcome}" if title is None else title
    body = list(sections(subject, progress or (lambda _: None)))
    text = page(title, _lead(subject), body, f"hiermodels {version_of('hiermodels')}")
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", errors="replace"))
    return Path(path)


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
    messages = [posterior.certificate[WARNING]] if WARNING in posterior.certificate else []
    stated = {name: spec.priors[name] for name in spec.spreads if not _is_default(spec, name)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PriorWarning)
        warn_of_default_prior(grid_of(spec, posterior.data), stated)
    messages += [str(each.message) for each in caught]
    return messages


def _is_default(spec: Spec, name: str) -> bool:
    return spec.priors[name] == FlatVariance()
