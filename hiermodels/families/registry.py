"""All families by their names."""

from __future__ import annotations

from collections.abc import Mapping

from hiermodels.families.family import Family
from hiermodels.families.normal import NormalRows

FAMILIES: Mapping[str, type[Family]] = {kind.name: kind for kind in (NormalRows,)}
