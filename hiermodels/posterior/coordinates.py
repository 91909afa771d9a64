"""Coordinates of a posterior's variables: labels of groups, coefficients and effects."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.data.grouped import GroupedData
from hiermodels.model.spec import Spec


def coords_of(spec: Spec, data: GroupedData) -> dict[str, NDArray[Any]]:
    """Labels along each dimension of the variables."""
    return data.coords | {dim: np.array(labels) for dim, labels in spec.coords.items()}
