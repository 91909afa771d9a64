"""A few random specifications through every exact route: see ``fuzz_engines.py``."""

from __future__ import annotations

import numpy as np
import pytest

from tests.statistical.fuzz_engines import Tally, draw_case, judge


@pytest.mark.filterwarnings("ignore::hiermodels.PriorWarning")
def test_random_specifications_agree_with_a_dense_grid():
    """The last of them has a lattice too coarse along τ alone, which a chessboard did not see."""
    rng, tally = np.random.default_rng(20), Tally()
    for case in [draw_case(rng) for _ in range(5)][3:]:
        judge(case, 1, tally)
    assert not tally.wrong, tally.report()
    assert tally.refused == 0
    assert tally.alarms == 0, tally.report()
