"""Arguments of the functions that take both a model and options of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from hiermodels.data.arguments import ModelArguments
from hiermodels.mcmc.options import NutsOptions


class FitArguments(ModelArguments, NutsOptions, total=False):
    """What says which model it is, and the options of every engine."""


def split(arguments: FitArguments) -> tuple[ModelArguments, dict[str, Any]]:
    """What says which model it is, and what is left for the engine."""
    given: Mapping[str, Any] = arguments
    model = {name: value for name, value in given.items() if name in ModelArguments.__annotations__}
    options = {name: value for name, value in given.items() if name not in model}
    return cast(ModelArguments, model), options
