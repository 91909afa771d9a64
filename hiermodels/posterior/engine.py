"""Engines: from a specification and data to draws.

Each engine is a module with a function ``sample(spec, data, request, **options) -> Posterior``, and
``prepare_refits``, which does once what many outcomes of the same rows have in common.  Nothing
downstream asks which one ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn, Protocol

from hiermodels.core.options import one_of
from hiermodels.core.seeds import Seed
from hiermodels.core.suggestions import ARGUMENTS, did_you_mean
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.model.spec import Spec
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.posterior.record import Posterior

ENGINES: Mapping[str, str] = {
    "exact": "hiermodels.exact.sample",
    "importance": "hiermodels.exact.importance",
    "nuts": "hiermodels.mcmc.sample",
}


ELSEWHERE = {
    **dict.fromkeys(("mcmc", "hmc", "pymc", "nutpie", "sampling"), "nuts"),
    "analytic": "exact",
}
INDEPENDENT = ("exact", "importance")  # whose draws are of no Markov chain


class Prepared(Protocol):
    """What was computed of a posterior before, and need not be computed again."""

    @property
    def spec(self) -> Spec:
        """What is assumed."""

    @property
    def data(self) -> GroupedData:
        """What was observed."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What every engine is asked for, beside options of its own.

    Attributes
    ----------
    draws : int
        Number of draws in each chain.
    chains : int
        Number of chains; independent draws are so within chains and between them.
    random_seed : int, Generator, SeedSequence or None
        The same seed gives the same bits.
    progressbar : bool, optional
        Whether to show progress, and samplers' own messages; by default in a terminal or a
        notebook, where somebody may be looking, and not where the output goes into a file.
    memory_budget : float
        Bytes that the draws may take, 2 GiB by default.
    grid : Prepared, optional
        What was computed of the same specification and data, for engines that can use it.
    """

    draws: int = 1000
    chains: int = 4
    random_seed: Seed = None
    progressbar: bool | None = None
    memory_budget: float = MEMORY_BUDGET
    grid: Prepared | None = None

    @property
    def size(self) -> int:
        """Number of draws in all chains."""
        return self.chains * self.draws


class Sample(Protocol):
    """What an engine does."""

    def __call__(
        self, spec: Spec, data: GroupedData, request: Request, /, **options: Any
    ) -> Posterior:
        """Draw from the posterior."""


class Refit(Protocol):
    """Draw from the posterior of other outcomes of the same rows; of independent draws."""

    def __call__(self, data: GroupedData, random_seed: Seed) -> Posterior:
        """Draw from the posterior."""


class Prepare(Protocol):
    """What an engine does to be ready for many outcomes of the same rows."""

    def __call__(
        self, spec: Spec, data: GroupedData, *, draws: int, chains: int, **options: Any
    ) -> Refit:
        """Get ready; of the data, the outcome is typical of those to come."""


def get_engine(name: str) -> Sample:
    """Load an engine when it is first needed: PyMC takes seconds to import.

    Raises
    ------
    SpecError
        If there is no engine of this name.
    """
    sample: Sample = _load(name).sample
    return sample


def get_refitter(name: str) -> Prepare:
    """Load an engine to draw from many posteriors with it, as :func:`get_engine` does."""
    prepare: Prepare = _load(name).prepare_refits
    return prepare


def refuse_option(engine: str, name: str, known: Sequence[str] = ()) -> NoReturn:
    """Raise SpecError: an engine has no such option."""
    takes = ", ".join(known) if known else "none beside memory_budget"
    guess = did_you_mean(name, (*known, *ARGUMENTS.values()), ARGUMENTS)
    raise SpecError(f"engine {engine!r} has no option {name!r}; it takes {takes}{guess}")


def _load(name: str) -> ModuleType:
    return import_module(ENGINES[one_of("engine", name, ENGINES, ELSEWHERE)])
