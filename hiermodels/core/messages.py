"""How messages name columns, rows and values, and which text can be kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of pairs
NOT_IN_NAMES = re.compile(r"[/\\\0]|^(?=\.)|^(?=_nc4_non_coord_)")
LARGEST = 1e150  # whose square is still a floating-point number
SHOWN = 5  # rows or names in a message
LONGEST = 40  # characters of one of them
LONGEST_NAME = 200  # bytes of a variable's, which may become that of a folder
COMMANDS = ("Cc", "Cs", "Zl", "Zp")  # categories of characters that do something, unseen
BIDIRECTIONAL = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def short(value: Any) -> str:
    """Write out a value, cut where it is long."""
    try:
        text = repr(value.item() if isinstance(value, np.generic) else value)
    except ValueError:  # an integer of thousands of digits
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def listed(items: Sequence[Any]) -> str:
    """Write out a few items, and how many more there are."""
    shown = ", ".join(short(item) for item in items[:SHOWN])
    more = len(items) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def plural(count: int) -> str:
    """The letter s, unless there is one thing only."""
    return "" if count == 1 else "s"


def rows_named(labels: Sequence[Any]) -> str:
    """Write out the labels of some rows: ``"rows 0, 1 and 7 more"``."""
    return f"row{plural(len(labels))} {listed(labels)}"


def is_storable(text: str) -> bool:
    """Whether arrays of text and files can hold it: not empty, no NUL, no half of a pair."""
    return bool(text) and not UNSTORABLE.search(text)


def variable_names(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Names of variables that a tree, netCDF and Zarr can hold, each another one.

    What they cannot hold becomes ``_``, what is very long is cut, and a name that is taken gets a
    ``_`` at its end.
    """
    used, variables = set(taken), []
    for name in names:
        new = NOT_IN_NAMES.sub("_", name).encode()[:LONGEST_NAME].decode(errors="ignore")
        while new in used:
            new += "_"
        used.add(new)
        variables.append(new)
    return variables


def printable(text: str) -> str:
    r"""Text for a terminal, with what would command it written out, such as ``\x1b``.

    Labels and names come from files.  Lines and tabs stay, and so does all that can be read.
    """
    return "".join(
        character.encode("unicode_escape").decode() if _commands(character) else character
        for character in text
    )


def _commands(character: str) -> bool:
    """Whether a character moves a terminal's cursor, or turns the direction of what follows."""
    return character not in "\n\t" and (
        unicodedata.category(character) in COMMANDS
        or unicodedata.bidirectional(character) in BIDIRECTIONAL
    )
