"""Objects as JSON and arrays, and back; nothing that is read is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any

import numpy as np
import xarray as xr

from hiermodels.errors import DataError, SpecError

CLASSES: dict[str, type[Any]] = {}


def storable[Class: type[Any]](kind: Class) -> Class:
    """Let files hold objects of a dataclass, by its name and the values of its fields."""
    CLASSES[kind.__name__] = kind
    return kind


def pack(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """Turn a value into what JSON holds; arrays of numbers are put into ``arrays``, by name."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [pack(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            return {"labels": value.tolist()}
        arrays[name] = ([f"{name}.{axis}" for axis in range(value.ndim)], value)
        return {"array": name}
    if isinstance(value, Mapping):
        parts = {key: pack(item, f"{name}.{key}", arrays) for key, item in value.items()}
        return {"mapping": parts}
    kind = type(value)
    if CLASSES.get(kind.__name__) is not kind:
        raise SpecError(
            f"{value!r} in {name} cannot be stored: a file holds numbers, text and objects of "
            f"these classes: {', '.join(sorted(CLASSES))}"
        )
    parts = {
        field.name: pack(getattr(value, field.name), f"{name}.{field.name}", arrays)
        for field in fields(kind)
        if not _is_left_out(field, getattr(value, field.name))
    }
    return {"class": kind.__name__, "fields": parts}


def _is_left_out(field: Field[Any], value: Any) -> bool:
    """Whether a value is an empty mapping or tuple, None or an object, and the default.

    Such fields were added later: without them, earlier versions read the file.
    """
    if field.default_factory is dict:
        return not value
    if field.default is None:
        return value is None
    if field.default == ():
        return isinstance(value, tuple) and not value
    return is_dataclass(field.default) and bool(value == field.default)


def unpack(stored: Any, own: xr.Dataset) -> Any:
    """Undo :func:`pack`; lists come back as tuples.

    Raises
    ------
    DataError
        If an object is of a class that this version does not know.
    """
    if isinstance(stored, list):
        return tuple(unpack(item, own) for item in stored)
    if not isinstance(stored, dict):
        return stored
    if "array" in stored:
        return own[stored["array"]].to_numpy()
    if "labels" in stored:
        return np.array(stored["labels"])
    if "mapping" in stored:
        return {key: unpack(item, own) for key, item in stored["mapping"].items()}
    kind = CLASSES.get(stored["class"])
    if kind is None:
        raise DataError(
            f"it holds an object of the class {stored['class']!r}, such as a family or a prior, "
            f"which this version of hiermodels does not know. Install the version that wrote it, "
            f"or a later one"
        )
    return kind(**{key: unpack(part, own) for key, part in stored["fields"].items()})
