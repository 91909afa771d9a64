"""Types of arrays, and constants of densities."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.float64]
type Indices = NDArray[np.intp]
type Flags = NDArray[np.bool_]

LOG_2 = math.log(2)
LOG_2PI = math.log(2 * math.pi)
