"""Models that several tests state alike are compiled once: most of a short run of NUTS is that.

Equal specifications and equal data state the same model, whose machine code is the same.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_MODELS: dict[bytes, Any] = {}  # by what build_model was given
_COMPILED: dict[tuple[int, str], Any] = {}  # by a model of these, and options


def share() -> None:
    """Keep what the NUTS engine builds and compiles, for the rest of the process."""
    import nutpie

    from hiermodels.mcmc import sample

    sample.build_model = _built_once(sample.build_model)
    nutpie.compile_pymc_model = _compiled_once(nutpie.compile_pymc_model)


@contextmanager
def anew() -> Iterator[None]:
    """Compile what is compiled inside, by a test for which that matters."""
    kept = dict(_MODELS), dict(_COMPILED)
    _MODELS.clear()
    _COMPILED.clear()
    try:
        yield
    finally:
        _MODELS.update(kept[0])
        _COMPILED.update(kept[1])


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
