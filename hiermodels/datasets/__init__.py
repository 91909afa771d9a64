"""Small data sets from the literature, typed from their publications, and simulated ones.

A data set is a function without arguments that returns a new data frame, with its source in the
docstring and its published figures in ``tests/test_datasets.py``.  It may import ``core`` and
``errors``.

- ``measurements``: means, effects and continuous outcomes
- ``counts``: numbers of events among trials, or during an exposure
- ``repeated``: repeated measurements of the same subjects
- ``simulated``: draws from the models, with the truth beside them
"""

from __future__ import annotations

from hiermodels.datasets.counts import (
    load_cbpp,
    load_pumps,
    load_rat_tumors,
    load_sarcoma_baskets,
    load_surgical,
)
from hiermodels.datasets.measurements import (
    load_baseball,
    load_dyestuff,
    load_eight_schools,
    load_pastes,
    load_penicillin,
    load_school_calendar,
)
from hiermodels.datasets.repeated import load_orthodont, load_sleepstudy
from hiermodels.datasets.simulated import simulate_classrooms, simulate_hospitals

__all__ = [
    "load_baseball",
    "load_cbpp",
    "load_dyestuff",
    "load_eight_schools",
    "load_orthodont",
    "load_pastes",
    "load_penicillin",
    "load_pumps",
    "load_rat_tumors",
    "load_sarcoma_baskets",
    "load_school_calendar",
    "load_sleepstudy",
    "load_surgical",
    "simulate_classrooms",
    "simulate_hospitals",
]
