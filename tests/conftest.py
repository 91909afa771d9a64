"""Data that several tests use."""

from __future__ import annotations

import gc
import os
import sys

import pandas as pd
import pytest
from hypothesis import HealthCheck, settings

import hiermodels as hm
from tests import compilations

# Of a model that is sampled for a second most of the time is compilation, and most of that is what
# makes it fast; read when Numba is imported.  The numbers are the same but for the last digits.
os.environ.setdefault("NUMBA_OPT", "0")

# The same examples at each run of CI; others each time in a long run, which stores what it finds.
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=SLOW)
settings.register_profile("long", deadline=None, suppress_health_check=SLOW, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_finish() -> None:
    """Compile each model once, look for garbage seldom, and not among what imports have made.

    Compiled models leave millions of objects behind.  Looking through them as often as Python does
    by default takes a quarter of the time of all tests, and most of that of a later compilation.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    if "hiermodels.mcmc.sample" in sys.modules:  # else it would be imported for nothing
        compilations.share()


@pytest.fixture(scope="session")
def baseball() -> pd.DataFrame:
    return hm.datasets.load_baseball()[["player", "y", "sigma"]]


@pytest.fixture(scope="session")
def schools() -> pd.DataFrame:
    return hm.datasets.load_eight_schools()


@pytest.fixture(scope="session")
def far_apart(schools) -> pd.DataFrame:
    """Eight schools that differ: tau is above 7 with probability 0.9999 under either prior.

    So no chain of a centred model meets the funnel's neck, where it depends on the platform
    whether and when it comes out again.
    """
    return schools.assign(y=4.0 * schools["y"])


@pytest.fixture(scope="session")
def mcmc(schools) -> hm.Fit:
    """Eight schools by NUTS: most of its time is spent on compiling the model."""
    return hm.fit(schools, engine="nuts", random_seed=1, progressbar=False)
