"""The one family of errors that this package raises about what it was given, and a warning."""

from __future__ import annotations


class HierModelsError(ValueError):
    """Base of the errors below."""


class DataError(HierModelsError):
    """The data cannot be used as they are."""


class SpecError(HierModelsError):
    """The specification, a prior or an option is wrong, or does not suit the engine."""


class ImproperPosteriorError(HierModelsError):
    """The posterior does not exist: the data do not bound what the priors leave open."""


class PriorWarning(UserWarning):
    """A prior that nobody chose drives the answer."""
