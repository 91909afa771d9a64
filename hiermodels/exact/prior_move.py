"""How far a quantity moves under another prior."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.posterior.tables import shown

NOTABLE = 0.25  # posterior sds by which another flat prior may move a quantity
ONE_SD = (0.158655253931457, 0.5, 0.841344746068543)  # Φ(−1), Φ(0), Φ(1)


@dataclass(frozen=True)
class Move:
    """What a quantity is under the default prior, and under the other one."""

    what: str  # such as "posterior mean of tau"
    old: float
    new: float
    size: float  # of the move, in posterior sds under the default prior

    def __str__(self) -> str:
        old, new = (shown(float(f"{value:.3g}")) for value in (self.old, self.new))
        return f"the {self.what} is {new} in place of {old} ({self.size:.2f} posterior sd away)"


def moved(what: str, both: Floats, spread: float) -> Move:
    """The move of a quantity, (2,) under both priors, in units of its spread."""
    old, new = both.tolist()
    return Move(what, old, new, abs(new - old) / float(spread))


def notable(kinds: Iterable[Iterable[Move]]) -> Iterator[Move]:
    """Yield of each kind of quantities the one that moves most, if it moves notably."""
    for moves in kinds:
        worst = max(moves, key=lambda move: move.size, default=None)
        if worst and worst.size >= NOTABLE:
            yield worst


def other_weights(weights: Floats, log_sd: Floats) -> tuple[Floats, Floats]:
    """Weights of points under the prior that is flat on an sd in place of its square.

    Returns
    -------
    both : (2, n)
        Under the prior as it is, and under the other.
    ratio : (n,)
        Of the other to the first, up to a constant: 1/sd.
    """
    ratio = np.exp(log_sd.min() - log_sd)
    other = weights * ratio
    return np.stack([weights, other / other.sum()]), ratio


def hardly_differ(both: Floats, ratio: Floats) -> bool:
    """Whether nothing moves notably, as the ratio's sd is small beside its mean."""
    relative_variance = (both[1] @ ratio) / (both[0] @ ratio) - 1
    return bool(relative_variance < NOTABLE**2)
