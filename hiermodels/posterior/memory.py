"""What draws take of memory, estimated before they are made, and what to do where it is too much.

All arrays are of 8-byte numbers.  The estimates are of what is kept; while they are made, draws of
effects above the groups take a few times as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from hiermodels.core.options import real_number
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.model.spec import Spec
from hiermodels.posterior.coordinates import coords_of

MEMORY_BUDGET = 2.0 * 2**30  # bytes that draws may take
ALWAYS = 2.0**26  # bytes that draws may take whatever the budget: 64 MiB
WORTH_TELLING = 2.0**28  # bytes of which a certificate speaks
NUMBER = 8

type Needs = Mapping[str, float]


def of_variables(spec: Spec, data: GroupedData, draws: int) -> dict[str, float]:
    """Bytes that draws of each variable take, by its name."""
    coords = coords_of(spec, data)
    sizes = {name: spec.dims(name) for name in spec.variables}
    return {
        name: float(NUMBER) * draws * prod(len(coords[dim]) for dim in dims)
        for name, dims in sizes.items()
    }


def of_numbers(names: Iterable[str], rows: int, draws: int) -> dict[str, float]:
    """Bytes that a number for each row and draw takes, by the name of what it is."""
    return {name: float(NUMBER) * draws * rows for name in names}


def fits(needs: Needs, budget: float) -> bool:
    """Whether all of it may be kept."""
    return sum(needs.values()) <= budget


def require(needs: Needs, draws: int, budget: float, remedy: str, always: float = ALWAYS) -> None:
    """Raise SpecError if something would take too much memory, before any of it is made.

    Parameters
    ----------
    needs : mapping of str to float
        Bytes, by name.
    draws : int
        Of all chains.
    budget, always : float
        Bytes that are allowed: the larger counts.
    remedy : str
        A sentence.

    Raises
    ------
    SpecError
        With the estimate, the budget and the remedy; or if the budget is no number.
    """
    budget = real_number("memory_budget", budget)
    if fits(needs, max(budget, always)):
        return
    raise SpecError(
        f"{draws:,} draws need {describe(needs)}, more than memory_budget={budget:.3g} bytes "
        f"({gibibytes(budget)}). {remedy}"
    )


def describe(needs: Needs) -> str:
    """What takes how much, the largest first; what is next to nothing is left out."""
    total = sum(needs.values())
    largest = sorted(needs, key=lambda name: -needs[name])
    worth = [name for name in largest if needs[name] > 0.01 * total]
    parts = ", ".join(f"{name} {gibibytes(needs[name])}" for name in worth)
    return f"{gibibytes(total)} ({parts})"


def gibibytes(size: float) -> str:
    """Write out a number of bytes."""
    return f"{size / 2**30:.1f} GiB" if size >= 0.05 * 2**30 else f"{size / 2**20:.2g} MiB"
