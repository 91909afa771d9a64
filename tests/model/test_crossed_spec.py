"""Crossed groups in a formula and in a specification: what is read, what stands for what."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.core.codec import pack, unpack
from hiermodels.model.formula.parse import parse
from hiermodels.model.level import Varying

CROSSED = hm.Spec("y", ("plate", "sample"), covariates=("x",), nesting=(-1, -1))


@pytest.mark.parametrize(
    ("groups", "columns", "nesting", "written"),
    [
        ("(1 | a) + (1 | b)", ("a", "b"), (-1, -1), None),
        ("(1 | `a b`) + (1|b)", ("a b", "b"), (-1, -1), "(1 | `a b`) + (1 | b)"),
        ("(1 | a) + (1 | b) + (1 | c)", ("a", "b", "c"), (-1, -1, -1), None),
        ("(1 | a/b) + (1 | c)", ("a", "b", "c"), (-1, 0, -1), None),
        ("(1 | c) + (1 | a/b)", ("c", "a", "b"), (-1, -1, 1), None),
        ("(1 | b:a) + (1 | c) + (1 | a)", ("c", "a", "b"), (-1, -1, 1), "(1 | c) + (1 | a/b)"),
        ("(1 | a) + (1 | a:b) + (1 | a:c)", ("a", "b", "c"), (-1, 0, 0), None),
        ("(1 | a/b) + (1 | a:b:c)", ("a", "b", "c"), (), "(1 | a/b/c)"),
    ],
)
def test_formulas(groups, columns, nesting, written):
    found = parse(f"y ~ x + {groups}")
    assert (found.groups, found.varying, found.nesting) == (columns, (), nesting)
    assert str(found) == f"y ~ x + {written or groups}"
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("groups", "messages"),
    [
        (
            "(1 | a) + (1 | b) + (1 | a:b)",
            ["'(1 | a:b)'", "column of their own", "data['a_b'] =", "write (1 | a_b)"],
        ),
        ("(1 | a/c) + (1 | b/c)", ["'(1 | b/c)'", "column of their own", "(1 | b_c)"]),
        ("(1 | a) + (1 | b:c)", ["'(1 | b:c)'", "leaves out the outer level"]),
        ("(1 | a) + (1 | a/b)", ["'(1 | a/b)'", "are there twice"]),
        ("(1 + x | a) + (1 | b)", ["'(1 + x | a)'", "slopes", "crossed", "PyMC or bambi"]),
        ("(1 | a) + (0 + x | a) + (1 | b)", ["slopes", "crossed"]),
        ("(1 | a) + (1 | b) + (1 | c) + (1 | d)", ["more than 3 columns"]),
    ],
)
def test_refused_formulas(groups, messages):
    with pytest.raises(hm.SpecError) as caught:
        parse(f"y ~ x + {groups}")
    for message in messages:
        assert message in str(caught.value)


def test_names_and_description():
    assert CROSSED.is_crossed
    assert CROSSED.structure == "crossed"
    assert not CROSSED.is_blocks
    assert CROSSED.variables == (
        *("mu", "tau_plate", "theta_plate", "tau_sample", "theta_sample", "beta", "sigma"),
    )
    assert CROSSED.sds == ("tau_sample", "tau_plate", "sigma")
    assert CROSSED.dims("theta_sample") == ("sample",)
    assert CROSSED.effect_of("plate") == "theta_plate"
    assert CROSSED.describe() == [
        "y ~ Normal(mu + theta_plate[plate] + theta_sample[sample] + x'beta, sigma)",
        "theta_plate[plate] ~ Normal(0, tau_plate)",
        "theta_sample[sample] ~ Normal(0, tau_sample)",
    ]


def test_three_columns_and_no_intercept():
    spec = hm.Spec("y", ("a", "b", "c"), has_intercept=False, nesting=(-1, 0, -1), se="s")
    assert spec.intercept is None
    assert spec.describe()[0].startswith("y ~ Normal(theta_a[a] + theta_b[b] + theta_c[c], s)")
    assert spec.describe()[2] == "theta_b[b] ~ Normal(0, tau_b)"  # a deviation, too


def test_priors():
    assert CROSSED.priors["tau_plate"] == hm.FlatVariance()
    assert CROSSED.priors["sigma"] == hm.Jeffreys()
    given = replace(CROSSED, priors={"tau": hm.HalfNormal(2), "tau_plate": hm.FlatSD()})
    assert given.priors["tau_sample"] == hm.HalfNormal(2)
    assert given.priors["tau_plate"] == hm.FlatSD()
    with pytest.raises(hm.SpecError, match="no parameter 'kappa'; it has mu, tau_plate, tau_s"):
        replace(CROSSED, priors={"kappa": hm.FlatSD()})


def test_files_and_copies():
    arrays = {}
    packed = pack(CROSSED, "spec", arrays)
    assert unpack(packed, arrays) == CROSSED
    assert pickle.loads(pickle.dumps(CROSSED)) == CROSSED
    nested = pack(hm.Spec("y", ("a", "b")), "spec", {})
    assert "nesting" not in nested["fields"]  # earlier versions read it


@pytest.mark.parametrize(
    ("more", "messages"),
    [
        ({"nesting": (-1,)}, ["for each of the columns ['plate', 'sample']", "found (-1,)"]),
        ({"nesting": (0, -1)}, ["the index of the column before it"]),
        ({"nesting": [-1, -1]}, ["expected", "nesting"]),
        ({"nesting": (-1, 0)}, ["none is crossed; leave it out"]),
        (
            {"varying": (Varying(("Intercept", "x")), Varying())},
            ["slopes", "'plate' in plate + sample", "(1 | plate)", "PyMC or bambi"],
        ),
        (
            {"family": hm.Poisson()},
            ["plate + sample", "need normal rows", "'poisson'", "PyMC or bambi"],
        ),
        ({"se": "s", "sampling": 0.5}, ["sampling_correlation", "independent errors"]),
        ({"sampling": "matrix"}, ["covariance", "independent errors", "give their sds, se=…"]),
        (
            {"strata": ("F", "M"), "columns": {"residual_by": "sex"}},
            ["residual_by", "one residual sd", "residual_by='sex'"],
        ),
    ],
)
def test_what_does_not_go_with_crossed_groups(more, messages):
    with pytest.raises(hm.SpecError) as caught:
        replace(CROSSED, priors={}, **more)
    for message in messages:
        assert message in str(caught.value)


def test_shapes_of_nesting_that_are_no_numbers():
    with pytest.raises(hm.SpecError, match="nesting: expected"):
        replace(CROSSED, nesting=(True, np.float64(1)))
