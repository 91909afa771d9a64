"""The noise-free summary of a level as a Parquet file, written some groups at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.files import needing, replacing, target
from hiermodels.core.progress import showing_progress
from hiermodels.data.covariates import At, Place, locate
from hiermodels.data.level_means import means_of_level
from hiermodels.data.nesting import labels_above
from hiermodels.exact.crossed_raw import raw_deviations
from hiermodels.exact.raw_values import raw_values, rows_of_level
from hiermodels.posterior.moments import MEAN, of_variables
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import interval_label, interval_note, tails

METADATA = b"hiermodels"  # key of the file's metadata


def write_parquet(
    posterior: Posterior,
    reference: ReferencePosterior,
    path: str | os.PathLike[str],
    level: str | None,
    *,
    ci_prob: float,
    at: At,
    row_group_size: int,
    progressbar: bool | None,
) -> Path:
    """Write a row for each group of a level, atomically.

    The reference is of the same model and data as the posterior; all else, errors included, is as
    in :meth:`hiermodels.Fit.to_parquet`.
    """
    name = posterior.spec.effect_of(level)
    ends = tails(ci_prob)
    where = locate(posterior.data, at)
    if name in posterior.spec.locations:
        reference = reference.at(at)
    with needing("pyarrow", "parquet", "to_parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    target(path)
    rows = _Rows(reference, name, ends, interval_label(ci_prob))
    metadata = {METADATA: json.dumps(_record(reference, name, ci_prob, where))}
    with (
        replacing(path) as temporary,
        showing_progress(posterior.spec.dims(name)[0], rows.size, progressbar) as advance,
    ):
        writer: Any = None
        try:
            for columns in rows.in_parts(row_group_size):
                table = pa.table(columns).replace_schema_metadata(metadata)
                writer = writer or pq.ParquetWriter(temporary, table.schema)
                writer.write_table(table)
                advance(len(table) // rows.effects)
        finally:
            if writer is not None:
                writer.close()
    return Path(path)


def _record(
    reference: ReferencePosterior, name: str, ci_prob: float, where: Place
) -> dict[str, Any]:
    """What a file says of itself."""
    from hiermodels import __version__

    spec = reference.spec
    dim = spec.dims(name)[0]
    lacking = reference.moments.why(of_variables([name]))
    notes = [
        reference.error_in_words,
        interval_note(ci_prob),
        *where.note([name] if name in spec.locations else []),
    ]
    return {
        "hiermodels_version": __version__,
        "model": spec.describe(),
        "priors": spec.describe_priors(),
        "data": str(reference.data),
        "level": dim,
        "variable": name,
        "ci_prob": ci_prob,
        "ci_kind": "eti",
        "notes": [*notes, *reference.precision, *([lacking] if lacking else [])],
        "certificate": reference.certificate,
        "how": reference.how(),
    }


class _Rows:
    """The rows of a level: labels, what was observed, and the posterior.

    Where groups have several effects each has a row, with its name in a column ``effect``.
    """

    def __init__(
        self, exact: ReferencePosterior, name: str, ends: tuple[float, float], interval: str
    ) -> None:
        self._exact, self._name = exact, name
        level = exact.spec.levels[exact.spec.level_of(name)]
        self._terms = np.array(level.terms) if level.has_slopes else None
        self._probabilities = np.array([ends[0], 0.5, ends[1]])
        self._labels = _label_columns(exact, name)
        self._known = observed(exact, name)
        self.size = len(self._known["n"])
        self._moments = {"mean": exact.mean[name].to_numpy(), "sd": exact.sd[name].to_numpy()}
        self._quantiles = (f"{interval}_lb", "median", f"{interval}_ub")

    @property
    def effects(self) -> int:
        """Rows of each group."""
        return 1 if self._terms is None else len(self._terms)

    def in_parts(self, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield columns of so many groups at a time."""
        low, middle, high = self._quantiles
        for first in range(0, self.size, size):
            members = np.arange(first, min(first + size, self.size))
            quantiles = self._exact.member_quantiles(self._name, self._probabilities, members)
            values = dict(zip(self._quantiles, quantiles, strict=True))
            ordered = {name: values[name].ravel() for name in (middle, low, high)}
            repeated = np.repeat(members, self.effects)
            columns = {name: column[repeated] for name, column in self._labels.items()}
            if self._terms is not None:
                effect = "effect" if "effect" not in columns else "effect_"
                columns[effect] = np.tile(self._terms, len(members))
            others = {name: known[repeated] for name, known in self._known.items()}
            others |= {name: known[members].ravel() for name, known in self._moments.items()}
            yield columns | {
                name if name not in self._labels else f"{name}_": column
                for name, column in (others | ordered).items()
            }


def _label_columns(exact: ReferencePosterior, name: str) -> dict[str, NDArray[Any]]:
    """Labels of each group of a level, and of what it is in, as they stood in the data."""
    levels = exact.data.levels
    lineage = exact.data.lineages[exact.spec.level_of(name)]
    return labels_above(
        [levels[own] for own in reversed(lineage)], np.arange(len(levels[lineage[0]]))
    )


def observed(exact: ReferencePosterior, name: str) -> dict[str, NDArray[Any]]:
    """What was observed of each group of a level, by name; (u,) each.

    ``n``, the number of rows, and ``raw_mean``, their mean outcome, weighted with ``1/se²`` where
    the standard errors are known; of crossed groups ``raw_deviation``, the mean of what posterior
    means of all else leave of them; of other families than the normal one the raw value under its
    own name, such as ``raw_proportion``, and of counts ``raw_size``, such as the number of trials.
    """
    spec, data, level = exact.spec, exact.data, exact.spec.level_of(name)
    if spec.is_crossed:
        raw = raw_deviations(spec, data, _middles(exact), name)
        return {"n": means_of_level(data, level)[0], "raw_deviation": raw}
    if spec.is_normal:
        count, mean = means_of_level(data, level)
        return {"n": count, "raw_mean": mean[:, -1]}
    values = raw_values(spec, data, level)
    size = {"raw_size": values.size} if spec.family.effect else {}
    word = spec.family.raw_word.replace(" ", "_")
    return {"n": rows_of_level(data, level), f"raw_{word}": values.value} | size


def _middles(exact: ReferencePosterior) -> dict[str, NDArray[Any]]:
    """The mean of each variable, or its median where there is no mean."""
    return {
        name: exact.mean[name].to_numpy()
        if exact.moment_exists(name, MEAN)
        else exact.quantile(0.5, [name])[name].to_numpy()[0]
        for name in exact.spec.variables
    }
