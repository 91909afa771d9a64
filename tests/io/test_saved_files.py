"""Files that an earlier version has written are read as they were meant.

``saved/`` holds two of version 0.1.0 as it was before its files were put into rooms: a fit of the
eight schools, and the statistics of Pastes.  They are not to be written anew.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

import hiermodels as hm

SAVED = Path(__file__).parent / "saved"


def test_a_fit_is_the_one_that_is_made_today(schools):
    saved = hm.load(SAVED / "fit.nc")
    today = hm.fit(schools, priors={"tau": hm.HalfNormal(5)}, draws=5, chains=2, random_seed=1)
    assert saved.spec == today.spec
    mine, theirs = (fit.datatree["posterior"].to_dataset() for fit in (saved, today))
    for name in today.spec.variables:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    np.testing.assert_array_equal(saved.reference().mean["theta"], today.reference().mean["theta"])


def test_statistics_are_those_that_are_made_today():
    saved = hm.load_statistics(SAVED / "statistics.nc")
    today = hm.SufficientStatistics.of(
        hm.datasets.load_pastes(), outcome="strength", groups=["batch", "cask"]
    )
    assert saved.roles == today.roles
    for field in fields(today):
        value = getattr(today, field.name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(saved, field.name), value, err_msg=field.name)
    assert hm.reference(saved).mean["lam"] == hm.reference(today).mean["lam"]
