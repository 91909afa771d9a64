"""Engines: from a specification and data to draws.

Each engine is a module with a function ``sample(spec, data, *, draws, chains, random_seed,
progressbar, **options) -> Posterior``.  Nothing downstream asks which one ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from hiermodels.data import GroupedData
from hiermodels.errors import SpecError
from hiermodels.posterior import Posterior
from hiermodels.spec import Spec

type Seed = int | np.random.Generator | np.random.SeedSequence | None

ENGINES: Mapping[str, str] = {
    "exact": "hiermodels.engines.exact",
    "nuts": "hiermodels.engines.nuts",
}


class Sample(Protocol):
    """What an engine does."""

    def __call__(
        self,
        spec: Spec,
        data: GroupedData,
        *,
        draws: int,
        chains: int,
        random_seed: Seed,
        progressbar: bool | None,
        **options: Any,
    ) -> Posterior:
        """Draw from the posterior."""


def get_engine(name: str) -> Sample:
    """Load an engine when it is first needed: PyMC takes seconds to import.

    Raises
    ------
    SpecError
        If there is no engine of this name.
    """
    if name not in ENGINES:
        raise SpecError(f"engine: expected one of {', '.join(map(repr, ENGINES))}; found {name!r}")
    sample: Sample = import_module(ENGINES[name]).sample
    return sample


def integer_seed(random_seed: Seed) -> int:
    """Turn a seed into the integer that a sampler takes; a Generator moves on."""
    if isinstance(random_seed, int | np.integer) and random_seed >= 0:
        return int(random_seed)
    try:
        return int(np.random.default_rng(random_seed).integers(2**31))
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"random_seed: expected a non-negative integer, a numpy Generator or SeedSequence, or "
            f"None; found {random_seed!r}"
        ) from error
