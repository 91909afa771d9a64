"""Links from the outcome's scale to that of linear predictors, their inverses, and slopes of these.

A family has its link from one of the classes here, for a base.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.families.family import Link


class IdentityLink:
    """Base of families whose mean is η."""

    link: ClassVar[Link] = "identity"

    def inverse_link(self, eta: Floats) -> Floats:
        """``η`` itself."""
        return eta


class LogLink:
    """Base of families whose rate, or ratio, is ``e^η``."""

    link: ClassVar[Link] = "log"

    def inverse_link(self, eta: Floats) -> Floats:
        """``e^η``."""
        return exponential(eta)


class LogitLink:
    """Base of families whose probability of a success is ``1/(1 + e^{−η})``."""

    link: ClassVar[Link] = "logit"

    def inverse_link(self, eta: Floats) -> Floats:
        """``1/(1 + e^{−η})``."""
        from scipy.special import expit

        return expit(eta)


def exponential(eta: Floats) -> Floats:
    """``e^η``, infinite where it is larger than any floating-point number."""
    with np.errstate(over="ignore"):
        return np.exp(eta)


def linked(link: Link, values: Floats) -> Floats:
    """Values of the outcome's scale on that of the link; ±∞ where the outcome's scale ends.

    ``log(p/(1 − p))`` or ``log(rate)``; values beyond the scale's ends count as those.
    """
    from scipy.special import logit

    if link == "identity":
        return values
    with np.errstate(divide="ignore"):
        if link == "log":
            return np.log(np.maximum(values, 0.0))
        return logit(np.clip(values, 0.0, 1.0))


def log_slope(link: Link, eta: Floats) -> Floats:
    """Logarithm of the derivative of the inverse link at linear predictors.

    Of ``1/(1 + e^{−η})`` it is ``−log(1 + e^η) − log(1 + e^{−η})``, of ``e^η`` it is η.
    """
    if link == "identity":
        return np.zeros_like(eta)
    return eta if link == "log" else -np.logaddexp(0.0, eta) - np.logaddexp(0.0, -eta)
