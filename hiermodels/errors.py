"""The one family of errors that this package raises about what it was given, and its warnings."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from pathlib import Path

OWN_FILES = (  # where a warning does not point: how their names begin
    f"{Path(__file__).parent}{os.sep}",
    *(str(module.__file__).removesuffix(".py") for module in (contextlib, functools)),
)


class HierModelsError(ValueError):
    """Base of the errors below."""


class DataError(HierModelsError):
    """The data cannot be used as they are."""


class SpecError(HierModelsError):
    """The specification, a prior or an option is wrong, or does not suit the engine."""


class ImproperPosteriorError(HierModelsError):
    """The posterior does not exist: the data do not bound what the priors leave open."""


class PrecisionError(SpecError):
    """The posterior exists, but no quadrature gives it to three digits."""


class PrecisionWarning(UserWarning):
    """A quadrature reached fewer digits than it should."""


class PriorWarning(UserWarning):
    """A prior that nobody chose drives the answer."""


class DataWarning(UserWarning):
    """What the data hold may be something else than it is taken for."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn, at the line outside this package that called it."""
    warnings.warn(message, category, skip_file_prefixes=OWN_FILES)
