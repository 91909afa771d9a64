"""Models that several tests state alike are compiled once: most of a short run of NUTS is that.

Equal specifications and equal data state the same model, whose machine code is the same.  Different
models share operations, such as a product of vectors, and one model has the same ones many times.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_MODELS: dict[bytes, Any] = {}  # by what build_model was given
_COMPILED: dict[tuple[int, str], Any] = {}  # by a model of these, and options
_OPERATIONS: dict[tuple[Any, ...], Any] = {}  # by what they do, and the types of what they take


def share() -> None:
    """Keep what the NUTS engine builds and compiles, for the rest of the process."""
    import nutpie
    from pytensor.link.numba.dispatch import basic

    from hiermodels.mcmc import sample

    sample.build_model = _built_once(sample.build_model)
    nutpie.compile_pymc_model = _compiled_once(nutpie.compile_pymc_model)
    basic.numba_funcify_ensure_cache = _converted_once(basic.numba_funcify_ensure_cache)


@contextmanager
def anew() -> Iterator[None]:
    """Compile what is compiled inside, by a test for which that matters."""
    every: list[dict[Any, Any]] = [_MODELS, _COMPILED, _OPERATIONS]
    kept = [dict(one) for one in every]
    for one in every:
        one.clear()
    try:
        yield
    finally:
        for one, before in zip(every, kept, strict=True):
            one.update(before)


def _built_once(build: Callable[..., Any]) -> Callable[..., Any]:
    def build_model(*arguments: Any, **options: Any) -> Any:
        try:
            key = pickle.dumps((arguments, options))
        except (AttributeError, TypeError, pickle.PicklingError):  # a test's own prior
            return build(*arguments, **options)
        if key not in _MODELS:
            _MODELS[key] = build(*arguments, **options)
        return _MODELS[key]

    return build_model


def _compiled_once(compile_model: Callable[..., Any]) -> Callable[..., Any]:
    def compile_pymc_model(model: Any, **options: Any) -> Any:
        plain = all(value is None or isinstance(value, str) for value in options.values())
        if not plain or not any(model is known for known in _MODELS.values()):
            return compile_model(model, **options)
        key = id(model), repr(sorted(options.items()))
        if key not in _COMPILED:
            _COMPILED[key] = compile_model(model, **options)
        return _COMPILED[key]

    return compile_pymc_model


def _converted_once(convert: Callable[..., Any]) -> Callable[..., Any]:
    """By the keys of PyTensor's files of machine code, which it writes only for optimised code.

    Beside its key PyTensor tells a file by the function's name and the types of its arguments.
    """

    def numba_funcify_ensure_cache(op: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        function, key = convert(op, *arguments, **options)
        if key is None:
            return function, None
        inputs = (options.get("node") or op).inputs
        types = tuple(
            (type(x.type), getattr(x.type, "dtype", None), getattr(x.type, "ndim", None))
            for x in inputs
        )
        return _OPERATIONS.setdefault((key, function.__name__, types), function), key

    return numba_funcify_ensure_cache
