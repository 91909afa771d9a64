"""A fit's DataTree as a Zarr store, draws of the groups written some groups at a time.

The store is a folder in Zarr's format 2, with consolidated metadata, as ``xarray`` writes it: it
has labels of fixed length and is read everywhere.  Draws lie in chunks of all draws of some
groups, so that those of a few groups are read without the others; they are not compressed, as
random digits cannot be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.container import without_spaces
from hiermodels.core.files import needing, replacing_folder
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.core.progress import showing_progress
from hiermodels.errors import SpecError
from hiermodels.exact.effects import DrawsOnDemand
from hiermodels.exact.kernels.tree.draws import GROUPS_PER_STREAM
from hiermodels.posterior.outcome_scale import on_outcome_scale
from hiermodels.posterior.record import Posterior

CHUNK = 1 << 23  # bytes of a chunk of draws
MANY = 1 << 30  # bytes of draws that are made at a time, where all are made for any of them
VERSION = "hiermodels_version"  # attribute of a store that was written here
ATTRIBUTES = ".zattrs"  # where it is


def write_zarr(
    posterior: Posterior, folder: str | os.PathLike[str], progressbar: bool | None = None
) -> Path:
    """Write a posterior's DataTree atomically, draws of all groups included.

    Parameters
    ----------
    posterior, folder, progressbar
        As in :meth:`hiermodels.Fit.to_zarr`.

    Raises
    ------
    SpecError
        If a name cannot be that of a file.
    DataError
        If the store cannot be written, or zarr is not installed.
    """
    from hiermodels import __version__

    with needing("zarr", "zarr", "to_zarr"):
        import zarr
    groups = {node.path: node.to_dataset(inherit=False) for node in posterior.datatree.subtree}
    groups, _ = without_spaces(groups)
    draws = groups["/posterior"]
    has_groups = bool(posterior.spec.groups)
    if has_groups:
        written = [name for names in _of_groups(posterior) for name in names]
        dims = {posterior.spec.dims(name)[0] for name in written}  # of draws on demand, too
        labels = {dim: posterior.data.coords[dim] for dim in posterior.spec.groups if dim in dims}
        above = draws.drop_vars(written, errors="ignore")
        groups["/posterior"] = above.assign_coords(labels)
    _require_names(groups)
    plain = {name: dataset.drop_encoding() for name, dataset in groups.items()}
    tree = xr.DataTree.from_dict(plain)
    tree.attrs = tree.attrs | {VERSION: __version__}
    with replacing_folder(folder, _is_ours) as temporary:
        tree.to_zarr(temporary, zarr_format=2, consolidated=False)
        if has_groups:
            node = zarr.open_group(temporary / "posterior")
            for names in _of_groups(posterior):
                _write_groups(posterior, draws, node, names, progressbar)
        zarr.consolidate_metadata(temporary)
    return Path(folder)


def _of_groups(posterior: Posterior) -> list[tuple[str, ...]]:
    """Variables that run over the innermost groups; of crossed ones over those of each column."""
    spec = posterior.spec
    if spec.is_crossed:
        return [(level.effect,) for level in spec.levels]
    return [(spec.effects[0], *spec.on_outcome_scale)]


def _write_groups(
    posterior: Posterior,
    draws: xr.Dataset,
    node: Any,
    names: Sequence[str],
    progressbar: bool | None,
) -> None:
    """Write draws of effects that run over the groups of one column."""
    dims = posterior.spec.dims(names[0])
    effects = tuple(len(posterior.spec.coords[dim]) for dim in dims[1:])
    size = len(posterior.data.coords[dims[0]])
    shape = (draws.sizes["chain"], draws.sizes["draw"], size, *effects)
    step, arrays = _groups_in_a_chunk(shape), {}
    for name in names:
        arrays[name] = node.create_array(
            name,
            shape=shape,
            chunks=(*shape[:2], step, *effects),
            dtype="f8",
            fill_value=np.nan,  # what xarray takes for missing: another number would be lost
            compressors=None,
        )
        arrays[name].attrs["_ARRAY_DIMENSIONS"] = [*SAMPLE_DIMS, *dims]
    source = _source(posterior, draws, names)
    if posterior.spec.is_crossed:  # whose draws are all made anew for any of them
        step *= MANY // CHUNK
    with showing_progress(dims[0], shape[2], progressbar) as advance:
        for part in _in_parts(shape[2], step):
            for name, values in source(np.arange(part.start, part.stop)).items():
                arrays[name][:, :, part] = values
            advance(part.stop - part.start)


def _groups_in_a_chunk(shape: tuple[int, ...]) -> int:
    """As many groups as a chunk's bytes hold, in whole streams of random numbers."""
    of_a_group = 8 * shape[0] * shape[1] * prod(shape[3:])
    streams = CHUNK // (of_a_group * GROUPS_PER_STREAM)
    return min(shape[2], GROUPS_PER_STREAM * max(1, streams))


def _source(
    posterior: Posterior, draws: xr.Dataset, names: Sequence[str]
) -> Callable[[Indices], Mapping[str, Floats]]:
    """What gives draws (chain, draw, group) of some groups: it makes them, or they were kept."""
    spec, data, draw = posterior.spec, posterior.data, posterior.draw_groups
    if draw is None:
        kept = {name: draws[name].to_numpy() for name in names}
        return lambda groups: {
            name: values[:, :, groups[0] : groups[-1] + 1] for name, values in kept.items()
        }
    if spec.is_crossed:
        of_column = cast(DrawsOnDemand, draw).of_column
        return lambda groups: {n: of_column(spec.level_of(n), groups) for n in names}
    beta = draws["beta"].to_numpy() if spec.covariates else None

    def make(groups: Indices) -> dict[str, Floats]:
        theta = draw(groups)
        made = {spec.effects[0]: theta}
        for name in spec.on_outcome_scale:
            made[name] = on_outcome_scale(spec, data, theta, beta, groups)
        return made

    return make


def _in_parts(size: int, step: int) -> Iterator[slice]:
    """Yield groups that are side by side, a chunk at a time."""
    for first in range(0, size, step):
        yield slice(first, min(first + step, size))


def _require_names(groups: dict[str, xr.Dataset]) -> None:
    """Raise SpecError if names would not be those of folders inside the store."""
    for dataset in groups.values():
        for name in map(str, dataset.variables):
            if not name or name.startswith(".") or any(sign in name for sign in "/\\\0"):
                raise SpecError(
                    f"{name!r} cannot be the name of a folder in a Zarr store; rename this column"
                )


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds a store that was written here."""
    file = folder / ATTRIBUTES
    return file.is_file() and VERSION in file.read_text(encoding="utf-8", errors="replace")
