"""What the default priors do to models with three grouping columns, and to slopes."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm


def rows(outer, seed=1):
    rng = np.random.default_rng(seed)
    a, b, c = np.indices((outer, 3, 3, 3)).reshape(4, -1)[:3]
    frame = pd.DataFrame({"a": a, "b": 3 * a + b, "c": 9 * a + 3 * b + c})
    sizes = rng.normal(size=outer), rng.normal(size=3 * outer), rng.normal(size=9 * outer)
    effects = sum(own[frame[name]] for own, name in zip(sizes, "abc", strict=True))
    frame = frame.astype(str)
    return frame.assign(y=effects + rng.normal(size=len(frame)))


def test_few_outer_groups_are_warned_of_with_figures():
    """The mean of tau_a under both flat priors, from two references."""
    frame, formula = rows(8), "y ~ 1 + (1 | a/b/c)"
    with pytest.warns(hm.PriorWarning, match="8 'a' groups say little of tau_a") as caught:
        hm.fit(frame, formula, draws=10, random_seed=1)
    said = str(caught[0].message)
    found = re.search(r"the posterior mean of tau_a is (\S+) in place of (\S+) \((\S+) post", said)
    assert found
    new, old, size = map(float, found.groups())
    first = hm.reference(frame, formula)
    other = hm.reference(frame, formula, priors={"tau_a": hm.FlatSD()})
    assert old == pytest.approx(float(first.mean["tau_a"]), rel=0.01)
    assert new == pytest.approx(float(other.mean["tau_a"]), rel=0.01)
    shift = float(first.mean["tau_a"] - other.mean["tau_a"]) / float(first.sd["tau_a"])
    assert size == pytest.approx(shift, abs=0.02)


def test_slopes_are_flat_on_sds_and_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error", hm.PriorWarning)
        hm.fit(
            hm.datasets.load_sleepstudy(),
            "Reaction ~ Days + (1 + Days | Subject)",
            draws=10,
            random_seed=1,
        )
