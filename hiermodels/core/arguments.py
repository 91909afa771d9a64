"""Arguments of public functions: of the kinds that their annotations say, or a clear error."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Hashable, Mapping
from functools import wraps
from inspect import Parameter
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from hiermodels.core.messages import short
from hiermodels.core.suggestions import ARGUMENTS, did_you_mean
from hiermodels.errors import HierModelsError, SpecError


class _Kind(NamedTuple):
    """What a value of an annotation is called, and whether a value is one."""

    name: str
    holds: Callable[[Any], bool]


def _is_sequence(value: Any) -> bool:
    """A list, tuple, array or the like of things that may be labels: these can be hashed."""
    is_listed = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    other = isinstance(value, (str, bytes, type, Mapping)) or getattr(value, "ndim", 1) != 1
    return is_listed and not other and all(isinstance(item, Hashable) for item in value)


def _instance_of(name: str) -> Callable[[Any], bool]:
    """By the name of a class: this module imports none of those that users meet."""
    return lambda value: name in [kind.__name__ for kind in type(value).__mro__]


_CLASSES = (
    *("Posterior", "Spec", "GroupedData", "Comparison", "ReferencePosterior", "Generator"),
    "SeedSequence",
)
_KINDS = {
    "None": _Kind("None", lambda value: value is None),
    "bool": _Kind("True or False", lambda value: isinstance(value, bool | np.bool_)),
    "str": _Kind("text", lambda value: isinstance(value, str)),
    "int": _Kind("an integer", lambda v: isinstance(v, Integral) and not isinstance(v, bool)),
    "float": _Kind("a number", lambda value: isinstance(value, Real) and value is not True),
    "Sequence": _Kind("a list", _is_sequence),
    "Mapping": _Kind("a mapping", lambda value: isinstance(value, Mapping)),
    "dict": _Kind("a dict", lambda value: isinstance(value, dict)),
    "PathLike": _Kind("a path", lambda value: isinstance(value, os.PathLike)),
    "Callable": _Kind("a function", callable),
    "Missing": _Kind("'error' or 'drop'", lambda value: isinstance(value, str)),
    "Observed": _Kind("'means' or 'rows'", lambda value: isinstance(value, str)),
    "Parameterization": _Kind(
        "the name of a parameterization, or a mapping",
        lambda value: isinstance(value, (str, Mapping)),
    ),
    **{name: _Kind(f"a {name}", _instance_of(name)) for name in _CLASSES},
}
_HEAD = re.compile(r"(?:\w+\.)*(\w+)")


def checked[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Make errors that come from arguments of the wrong kind name the argument.

    Where a call fails with an error that is none of this package's, and an argument is not of the
    kind that its annotation says, this is the error: what was expected of which argument, and what
    was found.  What is annotated ``bool`` is looked at before the call, since anything would do.

    Raises
    ------
    SpecError
        If an argument is of the wrong kind.
    """
    signature = inspect.signature(function)
    kinds = {name: _alternatives(p.annotation) for name, p in signature.parameters.items()}
    flags = {name: kind for name, kind in kinds.items() if kind and kind[0].name == "True or False"}

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        _refuse(flags, kwargs)
        try:
            return function(*args, **kwargs)
        except HierModelsError:
            raise
        except Exception as error:
            _name_unknown(function, signature, kwargs)
            _refuse(kinds, signature.bind(*args, **kwargs).arguments, error)
            raise

    return call


def checked_with[**P, R](
    listed: type[Any], **defaults: Any
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make :func:`checked` of a function whose keyword arguments are partly listed elsewhere.

    Of ``**names: Unpack[Listed]`` type checkers know which arguments these are.  Users are shown
    the same: ``inspect.signature`` and ``help`` have each of them before the function's own.

    Parameters
    ----------
    listed : TypedDict
        Names and types of the arguments.
    **defaults
        Of these arguments; None where nothing is said.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = _spelt_out(inspect.signature(function), listed, defaults)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            signature.bind(*args, **kwargs)  # a name that is not listed is a TypeError
            return function(*args, **kwargs)

        call.__signature__ = signature  # type: ignore[attr-defined]
        return checked(call)

    return decorate


def _spelt_out(
    signature: inspect.Signature, listed: type[Any], defaults: Mapping[str, Any]
) -> inspect.Signature:
    """The signature with the listed arguments in place of ``**names``, or beside other options."""
    *own, others = signature.parameters.values()
    positional = [p for p in own if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    names = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=kind)
        for name, kind in _annotations(listed).items()
    ]
    is_all = others.annotation == f"Unpack[{listed.__name__}]"
    options = [] if is_all else [others.replace(annotation="Any")]
    return signature.replace(parameters=[*positional, *names, *own[len(positional) :], *options])


def _annotations(listed: type[Any]) -> dict[str, str]:
    """Annotations of a ``TypedDict`` as they are written."""
    return {name: kind.__forward_arg__ for name, kind in listed.__annotations__.items()}


def checked_methods[T: type](kind: T) -> T:
    """Apply :func:`checked` to the public methods that a class defines."""
    for name, method in list(vars(kind).items()):
        if not name.startswith("_") and inspect.isfunction(method):
            setattr(kind, name, checked(method))
    return kind


def _alternatives(annotation: Any) -> list[_Kind]:
    """Kinds of values that an annotation allows; empty if it says nothing that can be checked."""
    if not isinstance(annotation, str):
        return []
    outer = re.sub(r"\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]", "", annotation)
    heads = [match[1] for part in outer.split("|") if (match := _HEAD.match(part.strip()))]
    return [_KINDS[head] for head in heads] if heads and all(h in _KINDS for h in heads) else []


def _name_unknown(
    function: Callable[..., Any], signature: inspect.Signature, named: Mapping[str, Any]
) -> None:
    """Raise TypeError about the first argument, if any, that a function does not have."""
    parameters = signature.parameters
    if any(own.kind is Parameter.VAR_KEYWORD for own in parameters.values()):
        return
    for name in named:
        if name not in parameters:
            known = [own for own in parameters if own not in ("self", "cls")]
            guess = did_you_mean(name, known, ARGUMENTS)
            raise TypeError(
                f"{function.__name__}() got an unexpected keyword argument {name!r}{guess}"
            )


def _refuse(
    kinds: Mapping[str, list[_Kind]], arguments: Mapping[str, Any], cause: Exception | None = None
) -> None:
    """Raise an error about the first argument of the wrong kind, if any."""
    for name, value in arguments.items():
        allowed = kinds.get(name)
        if allowed and not any(kind.holds(value) for kind in allowed):
            expected = " or ".join(kind.name for kind in allowed if kind.name != "None")
            raise SpecError(f"{name}: expected {expected}; found {short(value)}") from cause
