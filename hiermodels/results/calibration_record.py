"""Finished simulations, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hiermodels.core.files import target
from hiermodels.core.seeds import Seed, integer_seed
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.errors import DataError, SpecError
from hiermodels.model.spec import Spec
from hiermodels.posterior.coordinates import coords_of
from hiermodels.results.simulated_fits import Result, ranked_members

CALIBRATION = "calibration"  # what a file holds beside the groups
GROUPS = ("prior_sbc", "sample_stats")  # of the DataTree; ArviZ looks for the first
SAVE_EVERY = 2.0  # seconds


def identity(
    spec: Spec, data: GroupedRows, engine: str, options: Mapping[str, Any]
) -> dict[str, str]:
    """What a calibration depends on beside its seed, by the name that a message gives it."""
    digest = hashlib.sha256()
    of_family = (data.columns[role] for role in sorted(data.columns))
    arrays = (data.group, *data.parents, *data.labels, data.design.matrix)
    for array in (*arrays, *([] if data.se is None else [data.se]), *of_family):
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
class Record:
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
    ) -> Record:
        """Begin, or go on from what the file holds."""
        place = None if path is None else Path(path)
        every = coords_of(spec, data).items()
        coords = {name: labels[ranked_members(len(labels))] for name, labels in every}
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
        """Write the file atomically."""
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
    stored = content[CALIBRATION]
    groups = {name: whole[f"/{name}"].isel(chain=0) for name in GROUPS}
    wanted: dict[str, Any] = dict(identity)
    if random_seed is not None:
        wanted["random_seed"] = integer_seed(random_seed)
    other = [name for name, value in wanted.items() if stored.get(name) != value]
    if other:
        name = other[0]
        raise SpecError(
            f"path: {str(path)!r} holds a calibration of another {', '.join(other)}: expected "
            f"{str(wanted[name])!r}, found {str(stored.get(name))!r}. {remedy}"
        )
    arrays = {
        group: {str(name): values.to_numpy() for name, values in dataset.items()}
        for group, dataset in groups.items()
    }
    size = groups["prior_sbc"].sizes["draw"]
    return stored["random_seed"], [
        {group: {name: v[i] for name, v in values.items()} for group, values in arrays.items()}
        for i in range(size)
    ]
