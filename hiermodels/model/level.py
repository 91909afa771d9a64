"""The levels of a specification, from the outermost groups to the innermost ones."""

from __future__ import annotations

from dataclasses import dataclass

from hiermodels.model.priors.base import VariancePrior

INTERCEPT = "Intercept"
# Of the effects and of their sd, from the outermost level to the innermost.
NAMES = (("mu", "kappa"), ("theta", "tau"))
MAX_LEVELS = len(NAMES)


@dataclass(frozen=True)
class Level:
    """What is assumed of the groups of one level: ``effect ~ N(parent's effect, sd²)``.

    Attributes
    ----------
    column : str
        Column of the groups' labels.
    effect : str
        Name of the groups' effects, such as ``"theta"``.
    sd : str
        Name of their sd around their parents', such as ``"tau"``.
    prior : VariancePrior
        Of that sd.
    terms : tuple of str
        What has an effect of its own in each group: so far the intercept alone.
    """

    column: str
    effect: str
    sd: str
    prior: VariancePrior
    terms: tuple[str, ...] = (INTERCEPT,)


def names_of(n_levels: int) -> tuple[tuple[str, str], ...]:
    """Names of the effects and of their sd at each of so many levels, the outermost first."""
    return NAMES[MAX_LEVELS - n_levels :]
