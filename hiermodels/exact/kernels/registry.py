"""All kernels, by the family of the rows and the structure of their groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hiermodels.exact.kernels.kernel import Kernel
from hiermodels.exact.kernels.tree.kernel import TreeKernel
from hiermodels.exact.kernels.tree.tree import Coefficients

# Each is made of what the rows say, in its own form, and of the priors of the intercept and of β.
KERNELS: Mapping[tuple[str, str], Callable[[Any, Coefficients], Kernel]] = {
    ("normal", "nested"): TreeKernel,
}
