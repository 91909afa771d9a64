"""The page of the reference: every public name, sorted into subjects by what it is.

A name that is added to ``hiermodels.__all__`` appears without a change here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import hiermodels as hm


def is_kind(thing: Any, kind: type) -> bool:
    """Whether a thing is a class of this kind."""
    return isinstance(thing, type) and issubclass(thing, kind)


PYMC_MODELS = ("hiermodels.api.pymc_models", "hiermodels.mcmc.model")  # modules of such functions
# The first that fits a name is its subject.
SUBJECTS: dict[str, Callable[[Any], bool]] = {
    "Errors and warnings": lambda thing: is_kind(thing, Exception),
    "Priors of sds and variances": lambda thing: is_kind(thing, hm.VariancePrior),
    "Priors of means and coefficients": lambda thing: is_kind(thing, hm.Prior),
    "PyMC models": lambda thing: thing.__module__ in PYMC_MODELS,
    "What comes back, and records": lambda thing: isinstance(thing, type),
    "Functions": callable,
}
ORDER = (
    "Functions",
    "What comes back, and records",
    "Priors of sds and variances",
    "Priors of means and coefficients",
    "PyMC models",
    "Errors and warnings",
)


def public_functions(module: ModuleType) -> list[str]:
    """Functions of a module or of its submodules that it makes public, by their full names."""
    return [
        f"{module.__name__}.{name}"
        for name in getattr(module, "__all__", vars(module))
        if not name.startswith("_") and is_own_function(getattr(module, name), module)
    ]


def is_own_function(thing: Any, module: ModuleType) -> bool:
    """Whether a thing is a function that is defined in a module or below it."""
    return inspect.isfunction(thing) and f"{thing.__module__}.".startswith(f"{module.__name__}.")


def subject(thing: Any) -> str:
    """Return the subject under which a public thing is listed."""
    return next(name for name, fits in SUBJECTS.items() if fits(thing))


def sections() -> Iterator[tuple[str, list[str]]]:
    """Titles, each with the full names that it lists."""
    things = {name: getattr(hm, name) for name in hm.__all__}
    modules = {name: thing for name, thing in things.items() if isinstance(thing, ModuleType)}
    names = [name for name in things if name not in modules]
    for title in ORDER:
        yield title, [f"hiermodels.{name}" for name in names if subject(things[name]) == title]
    for name, module in modules.items():
        yield f"{name.capitalize()}: `hiermodels.{name}`", public_functions(module)


def file_names() -> dict[str, str]:
    """Files of functions named like a class: case makes no difference on some file systems."""
    classes = {name.lower() for name in hm.__all__ if not name.islower()}
    functions = [f"hiermodels.{name}" for name in hm.__all__ if name in classes]
    return {name: f"{name}-function" for name in functions}


def extend_others() -> set[str]:
    """Classes derived from another library's, such as a data frame: it tells of their methods."""
    own = ("hiermodels", "builtins", "abc", "typing")
    classes = {name: thing for name in hm.__all__ if is_kind(thing := getattr(hm, name), object)}
    return {
        f"hiermodels.{name}"
        for name, thing in classes.items()
        if any(base.__module__.split(".")[0] not in own for base in thing.__mro__)
    }


def reference() -> str:
    """Return the page, in MyST."""
    lines = ["# Reference", ""]
    for title, names in sections():
        block = ["```{eval-rst}", ".. autosummary::", "   :toctree: .", ""]
        lines += [f"## {title}", "", *block, *(f"   {name}" for name in names), "```", ""]
    return "\n".join(lines)
