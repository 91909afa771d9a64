"""Which moments exist where groups are few and slopes vary."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.block_moments import BlockMoments

FORMULA = "Reaction ~ Days + (1 + Days | Subject)"


def _few(groups):
    """The first subjects of the sleep study."""
    frame = hm.datasets.load_sleepstudy()
    return frame[frame["Subject"].isin(frame["Subject"].unique()[:groups])]


def _reference(groups, **priors):
    return hm.reference(_few(groups), FORMULA, priors=priors, tol=1e-4)


def _moments(groups, **priors):
    """By counting, without the posterior itself."""
    return BlockMoments.of(*prepare(_few(groups), FORMULA, priors=priors))


@pytest.mark.parametrize(("groups", "orders"), [(3, ()), (4, (1,)), (5, (1, 2)), (7, (1, 2, 3, 4))])
def test_flat_sds_need_groups(groups, orders):
    """With G groups τ's density falls as τ^−(G − 1): moments of order below G − 2 exist."""
    known = _moments(groups)
    for name in ("tau[Days]", "tau[Intercept]", "tau"):
        assert tuple(m for m in (1, 2, 3, 4) if known.exist([name], m)) == orders
    assert known.exist(["sigma"], 4)
    assert known.exist(["rho"], 4)


@pytest.mark.filterwarnings("ignore::hiermodels.errors.PrecisionWarning")
def test_only_what_does_not_exist_is_nan():
    """Four groups: means of the sds exist, and their sds do not, as the table says by name."""
    exact = _reference(4)
    assert np.isfinite(exact.mean["tau"]).all()
    assert np.isnan(exact.sd["tau"]).all()
    assert np.isfinite(exact.quantile(0.5, ["tau"])["tau"]).all()
    assert np.isfinite(exact.sd["sigma"])
    assert np.isfinite(exact.sd["rho"])
    notes = exact.summary(["mu", "tau", "rho", "sigma"]).attrs["notes"]
    (why,) = (note for note in notes if "Medians exist" in note)
    assert "tau" in why
    assert "rho" not in why


@pytest.mark.parametrize("groups", [3, 5])
def test_flat_covariances_of_few_groups_are_refused(groups):
    """Two effects need six groups; the message names the sds and the number."""
    with pytest.raises(hm.ImproperPosteriorError, match=r"tau\[Intercept\] and tau\[Days\].*6 gro"):
        _reference(groups, tau=hm.FlatCovariance())


@pytest.mark.parametrize(("groups", "orders"), [(6, ()), (7, (1,)), (8, (1, 2))])
def test_flat_covariances_need_more_groups(groups, orders):
    """The posterior of six just exists, and its sds have no mean."""
    known = _moments(groups, tau=hm.FlatCovariance())
    assert tuple(m for m in (1, 2) if known.exist(["tau[Days]"], m)) == orders
    assert known.exist(["sigma"], 2)


def test_an_informative_prior_of_one_sd_leaves_the_other_without():
    """Three groups: τ of slopes has a half-normal prior, and all its moments."""
    exact = _reference(3, **{"tau[Days]": hm.HalfNormal(10)})
    assert exact.moments.exist(["tau[Days]"], 2)
    assert not exact.moments.exist(["tau[Intercept]"], 1)
    tau = exact.mean["tau"]
    assert np.isfinite(tau.sel(effect="Days"))
    assert np.isnan(tau.sel(effect="Intercept"))
