"""Data whose roles cannot be inferred: the message has calls to copy, which run."""

from __future__ import annotations

import re
import warnings

import pandas as pd
import pytest

import hiermodels as hm

LOADERS = sorted(name for name in dir(hm.datasets) if name.startswith("load_"))
EXPECTED = {
    "load_cbpp": "outcome='incidence', trials='size', groups='herd'",
    "load_orthodont": "outcome='distance', groups='Subject', covariates='Sex'",
    "load_pastes": "outcome='strength', groups=['batch', 'cask']",
    "load_penicillin": "'diameter ~ 1 + (1 | plate) + (1 | sample)'",
    "load_pumps": "outcome='failures', exposure='hours', groups='pump'",
    "load_rat_tumors": "outcome='tumors', trials='rats', groups='experiment'",
    "load_sarcoma_baskets": "outcome='responders', trials='patients', groups='subtype'",
    "load_surgical": "outcome='deaths', trials='cases', groups='hospital'",
}


def calls(message: str) -> list[str]:
    return re.findall(r"hm\.fit\(df, (?:[^()]|\([^()]*\))*\)", message)


@pytest.mark.parametrize("name", LOADERS)
def test_every_data_set_fits_or_has_its_readings(name):
    df = getattr(hm.datasets, name)()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hm.PriorWarning)
        if name not in EXPECTED:
            assert hm.fit(df, draws=2).spec.groups
            return
        with pytest.raises(hm.HierModelsError) as caught:
            hm.fit(df)
        found = calls(str(caught.value))
        assert any(EXPECTED[name] in call for call in found)
        for call in [call for call in found if EXPECTED[name] in call]:
            assert eval(f"{call[:-1]}, draws=2)", {"hm": hm, "df": df}).spec.groups


def test_only_what_may_be_counts_is_offered():
    df = pd.DataFrame({"site": list("abc"), "n": [5, 6, 7], "r": [1, 7, 2], "code": [-1, 0, 1]})
    with pytest.raises(hm.DataError, match=r"none is. Say outcome=…$"):
        hm.fit(df)
    with pytest.raises(hm.DataError, match=r"trials='n', groups='site'\)$"):
        hm.fit(df.assign(r=[1, 2, 0]))


def test_lazy_rows_are_not_read_for_a_message():
    polars = pytest.importorskip("polars")
    lazy = polars.DataFrame({"site": list("abc"), "n": [5, 6, 7], "r": [1, 2, 2]}).lazy()
    with pytest.raises(hm.DataError, match=r"Say outcome=…$"):
        hm.fit(lazy)
