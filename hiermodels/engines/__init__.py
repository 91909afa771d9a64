"""Engines: from a specification and data to draws.

Each engine is a module with a function ``sample(spec, data, *, draws, chains, random_seed,
progressbar, **options) -> Posterior``.  Nothing downstream asks which one ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from hiermodels.data import GroupedData
from hiermodels.errors import SpecError
from hiermodels.posterior import Posterior, Seed
from hiermodels.spec import Spec

__all__ = ["ENGINES", "Sample", "Seed", "get_engine"]

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
