"""The arguments that users see: a promise, which changes with a line in ``CHANGELOG.md`` only.

``python tests/test_signatures.py`` stores the signatures anew.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hiermodels as hm

STORED = Path(__file__).with_name("signatures.txt")
UNLISTED = {"self", "cls"}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Public functions, and what is called of classes that come from them or are given to them."""
    for name in hm.__all__:
        if inspect.isfunction(thing := getattr(hm, name)):
            yield name, thing
    for kind in (hm.Fit, hm.ReferencePosterior, hm.SufficientStatistics):
        for name in dir(kind):
            thing = getattr(kind, name)
            if not name.startswith("_") and (inspect.isfunction(thing) or inspect.ismethod(thing)):
                yield f"{kind.__name__}.{name}", thing


FUNCTIONS = dict(functions())


def written(name: str) -> str:
    """A line with the name, annotations and defaults of each argument."""
    return f"{name}{inspect.signature(FUNCTIONS[name])}"


def documented(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments in the order in which the docstring tells of them."""
    _, _, after = (inspect.getdoc(function) or "").partition("\nParameters\n----------\n")
    lines = re.split(r"\n\n\w+\n---+\n", after)[0].splitlines()
    heads = [line.partition(" : ")[0] for line in lines if line and not line.startswith(" ")]
    return [name.lstrip("*") for head in heads for name in head.split(", ")]


def test_signatures_are_those_that_were_promised():
    assert [written(name) for name in FUNCTIONS] == STORED.read_text().splitlines()


@pytest.mark.parametrize("name", [name for name, thing in FUNCTIONS.items() if documented(thing)])
def test_every_argument_is_documented(name):
    arguments = set(inspect.signature(FUNCTIONS[name]).parameters) - UNLISTED
    assert set(documented(FUNCTIONS[name])) == arguments


@pytest.mark.parametrize("function", [hm.reference, hm.sensitivity, hm.SufficientStatistics.of])
def test_an_argument_that_there_is_not_is_an_error(function, schools):
    with pytest.raises(TypeError, match="unexpected keyword argument 'outcomes'"):
        function(schools, outcomes="y")


if __name__ == "__main__":
    STORED.write_text("".join(f"{written(name)}\n" for name in FUNCTIONS))
