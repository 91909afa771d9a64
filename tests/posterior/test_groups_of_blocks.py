"""Draws of groups with several effects, or of many levels, that are made on demand."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hiermodels as hm
from hiermodels.data.covariates import locate
from hiermodels.exact.block_effects import BlockGroups
from hiermodels.exact.effects import Effects
from hiermodels.exact.kernels.tree.draws import GROUPS_PER_STREAM
from hiermodels.posterior.record import at_covariates, group_draws
from tests.io.test_files_of_slopes import nested

MODELS = {
    "slopes": {"formula": "y ~ x + z + (1 + x | g)"},
    "slopes above": {"formula": "y ~ x + z + (0 + x | a) + (1 | a:g)"},
    "four levels": {"formula": "y ~ x + (1 | a/b/g)"},
    "intercepts": {"formula": "y ~ x + (1 | g)"},
    "strata": {"formula": "y ~ x + (1 | g)", "residual_by": "kind"},
    "strata across groups": {"formula": "y ~ x + (1 | g)", "residual_by": "half"},
}
GROUPS = 2 * GROUPS_PER_STREAM + 5


def rows() -> pd.DataFrame:
    """Rows of groups in three random streams, the last of which is not full."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(GROUPS), rng.integers(2, 5, GROUPS))
    x = pd.Series(g).groupby(g).cumcount().to_numpy() / 2  # three designs
    z = rng.normal(size=len(g))
    effects = rng.normal(size=(2, GROUPS))[:, g]
    frame = pd.DataFrame({"a": g // 12, "b": g // 4, "g": g, "x": x, "z": z}).astype(
        {"a": str, "b": str, "g": str}
    )
    frame["kind"], frame["half"] = np.where(g % 3, "p", "q"), np.where(x > 0.5, "p", "q")
    return frame.assign(y=effects[0] + effects[1] * x + z + rng.normal(size=len(g)))


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def fits(request):
    """Draws that were kept, and draws on demand."""
    options = {"draws": 30, "random_seed": 1}
    with contextlib.redirect_stdout(None):
        return tuple(
            hm.fit(rows(), **request.param, memory_budget=budget, **options) for budget in (1e9, 1)
        )


def test_draws_are_the_same_bits_whichever_are_asked_for(fits, tmp_path):
    kept, lean = fits
    name = kept.spec.effects[0]
    dim, *_ = kept.spec.dims(name)
    every = kept.datatree["posterior"][name]
    assert name not in lean.datatree["posterior"]
    assert "lp" not in lean.datatree["sample_stats"]
    for other in lean.datatree["posterior"].data_vars:
        assert lean.datatree["posterior"][other].equals(kept.datatree["posterior"][other])
    kind = BlockGroups if kept.spec.is_blocks else Effects
    assert isinstance(lean.posterior.draw_groups.effects, kind)
    some = [str(g) for g in (GROUPS - 1, 3, 3, 20)]
    loaded = hm.load(lean.to_netcdf(tmp_path / "fit.nc"))
    for fit in (lean, loaded):
        np.testing.assert_array_equal(fit.draws(), every)
        found = fit.draws(some)
        np.testing.assert_array_equal(found, every.sel({dim: some}))
        assert found.dims == every.dims
    with xr.open_datatree(lean.to_zarr(tmp_path / "fit.zarr"), engine="zarr") as tree:
        np.testing.assert_array_equal(tree["posterior"][name], every)


def test_what_is_asked_of_draws_is_the_same(fits):
    kept, lean = fits
    place = locate(kept.data, {"x": 0.5, "z": 2.0} if "z" in kept.spec.covariates else {"x": 0.5})
    moved = [group_draws(at_covariates(fit.posterior, place), ["5", "2"]) for fit in fits]
    xr.testing.assert_allclose(*moved, rtol=1e-13)
    new = rows()[:5].drop(columns="y")
    predicted = [fit.predict(new, random_seed=1).mean for fit in fits]
    xr.testing.assert_allclose(*predicted, rtol=1e-12)
    checked = [fit.check(random_seed=1) for fit in fits]
    pd.testing.assert_frame_equal(*checked)
    name = kept.spec.effects[0]
    assert f"left out: {name} of {GROUPS} g" in str(lean.summary())
    with pytest.raises(hm.SpecError, match=f"draws of {name} were not kept"):
        lean.summary([name])
    assert f"not kept: {GROUPS} groups" in repr(lean)


def test_pictures_of_draws_on_demand_are_those_of_kept_ones():
    from matplotlib import pyplot as plt

    from hiermodels.plots.raw_lines import GroupLines, middles

    options = {"draws": 30, "random_seed": 1}
    kept, lean = (
        hm.fit(nested(), "y ~ x + z + (1 + x | a)", memory_budget=budget, **options).posterior
        for budget in (1e9, 1)
    )
    for name, value in middles(kept).items():
        np.testing.assert_allclose(middles(lean)[name], value, rtol=1e-13)
    lines = [GroupLines.of(one, None, "x", None).interval(0.9, 3)[1] for one in (kept, lean)]
    np.testing.assert_allclose(*lines, rtol=1e-13)
    plt.close("all")
