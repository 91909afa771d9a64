"""Data that several tests use."""

from __future__ import annotations

import pandas as pd
import pytest

import hiermodels as hm


@pytest.fixture(scope="session")
def baseball() -> pd.DataFrame:
    return hm.datasets.load_baseball()[["player", "y", "sigma"]]


@pytest.fixture(scope="session")
def schools() -> pd.DataFrame:
    return hm.datasets.load_eight_schools()
