"""Options of NUTS, checked before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from hiermodels.errors import SpecError
from hiermodels.posterior.engine import refuse_option

if TYPE_CHECKING:
    from hiermodels.mcmc.parameterization import Observed, Parameterization

SAMPLERS = ("nutpie", "pymc", "numpyro", "blackjax")
TUNE = 1000  # the default of PyMC; nutpie's own is 400
TARGET_ACCEPT = 0.95  # at the samplers' own 0.8 the eight schools diverge for most seeds


class SamplingOptions(TypedDict, total=False):
    """What is passed to ``pm.sample``."""

    tune: int
    target_accept: float
    max_treedepth: int
    nuts: Mapping[str, Any]
    cores: int | None
    initvals: Any
    init: str
    n_init: int
    jitter_max_retries: int
    backend: str
    compile_kwargs: Mapping[str, Any]
    blas_cores: int | str | None
    mp_ctx: Any
    progressbar_theme: Any


class NutsOptions(SamplingOptions, total=False):
    """What ``engine="nuts"`` takes beside what every engine does."""

    parameterization: Parameterization
    observed: Observed
    nuts_sampler: str


OPTIONS = tuple(SamplingOptions.__annotations__)


def checked_options(nuts_sampler: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options and turn them into arguments of ``pm.sample``."""
    if nuts_sampler not in SAMPLERS:
        known = ", ".join(map(repr, SAMPLERS))
        raise SpecError(f"nuts_sampler: expected one of {known}; found {nuts_sampler!r}")
    if find_spec(nuts_sampler) is None:
        raise SpecError(
            f"nuts_sampler: {nuts_sampler!r} is not installed; pip install {nuts_sampler}, or "
            f"use 'nutpie'"
        )
    for name in options:
        if name not in OPTIONS:
            refuse_option("nuts", name, ("parameterization", "observed", "nuts_sampler", *OPTIONS))
    arguments = {"tune": TUNE, **options}
    steps = {"target_accept": TARGET_ACCEPT, **arguments.pop("nuts", {})}
    for name in ("target_accept", "max_treedepth"):
        if name in arguments:
            steps[name] = arguments.pop(name)
    _require_in_range({**arguments, **steps})
    arguments["nuts"] = steps
    return arguments


def _require_in_range(arguments: Mapping[str, Any]) -> None:
    """Check numbers that the samplers take without a look, or trip over later."""
    for name, least in {"tune": 0, "cores": 1, "max_treedepth": 1}.items():
        value = arguments.get(name)
        if value is not None and not (isinstance(value, int | np.integer) and value >= least):
            raise SpecError(f"{name}: expected an integer of at least {least}; found {value!r}")
    accept = arguments["target_accept"]
    if not 0 < accept < 1:
        raise SpecError(f"target_accept: expected a number between 0 and 1; found {accept!r}")
