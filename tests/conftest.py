"""Data that several tests use."""

from __future__ import annotations

import os

import pandas as pd
import pytest
from hypothesis import HealthCheck, settings

import hiermodels as hm

# The same examples at each run of CI; others each time in a long run, which stores what it finds.
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=SLOW)
settings.register_profile("long", deadline=None, suppress_health_check=SLOW, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def baseball() -> pd.DataFrame:
    return hm.datasets.load_baseball()[["player", "y", "sigma"]]


@pytest.fixture(scope="session")
def schools() -> pd.DataFrame:
    return hm.datasets.load_eight_schools()
