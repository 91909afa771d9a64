"""The same seed gives the same bits, whatever else is different; elsewhere, the same numbers.

Nothing in the package depends on the number of threads or processes, on the order of sets or on
what was computed before.  What may differ is the last bit of a logarithm or of a sum of products:
NumPy and OpenBLAS have code of their own for each family of processors.  Draws are functions of
such numbers and move by about as much, unless a proposal is accepted on one machine and not on
another.  So bits are compared where the code is the same, and numbers to a small part of the
posterior sd where it is not: ``OTHER_CODE`` for the posterior by quadrature, ``OTHER_DRAWS`` for
draws, which hang on the curvature at the mode, found by differences.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import threadpoolctl

import hiermodels as hm

OTHER_CODE = 1e-9  # posterior sds; the largest found is 7e-12
OTHER_DRAWS = 1e-6  # posterior sds; the largest found is 4e-9


def frame(groups: int, rows: int) -> pd.DataFrame:
    """Groups that differ, with covariates; by integers, so that no library's noise is in it."""
    i = np.arange(groups * rows)
    y = (i * 7919 % 101) / 50 + (i // rows * 31 % 17) / 10
    return pd.DataFrame(
        {"y": y, "x": (i * 53 % 89) / 40, "z": (i * 37 % 83) / 40, "g": i // rows}
    ).astype({"g": str})


FITS: dict[str, Callable[[], hm.Fit]] = {
    "eight schools": lambda: hm.fit(hm.datasets.load_eight_schools(), random_seed=1),
    "half-Cauchy": lambda: hm.fit(
        hm.datasets.load_eight_schools(), priors={"tau": hm.HalfCauchy(5)}, random_seed=2
    ),
    "unknown sigma": lambda: hm.fit(
        hm.datasets.load_dyestuff(), "yield_ ~ (1 | batch)", draws=250, random_seed=3
    ),
    "three levels": lambda: hm.fit(
        hm.datasets.load_pastes(), "strength ~ (1 | batch/cask)", draws=250, random_seed=4
    ),
    "covariates": lambda: hm.fit(frame(300, 6), "y ~ x*z + (1 | g)", draws=100, random_seed=5),
    "one population": lambda: hm.fit(
        hm.datasets.load_dyestuff(), groups=[], draws=250, random_seed=6
    ),
}


def bits(fit: hm.Fit) -> str:
    """Checksum of all draws."""
    digest = hashlib.sha256()
    for name, values in sorted(fit.datatree["posterior"].to_dataset().data_vars.items()):
        digest.update(f"{name}{values.dims}".encode() + values.to_numpy().tobytes())
    return digest.hexdigest()[:16]


def numbers(fit: hm.Fit) -> dict[str, dict[str, list[float]]]:
    """A few draws of each variable, and its exact mean and sd."""
    draws, exact = fit.datatree["posterior"].to_dataset(), fit.reference()
    return {
        str(name): {
            "draws": values.to_numpy()[[0, 3], [5, 77]].ravel()[:12].tolist(),
            "mean": exact.mean[name].to_numpy().ravel()[:4].tolist(),
            "sd": exact.sd[name].to_numpy().ravel()[:4].tolist(),
        }
        for name, values in draws.data_vars.items()
    }


def tell() -> dict[str, dict[str, object]]:
    """What each fit is, as a process says it to another."""
    made = {name: make() for name, make in FITS.items()}
    return {name: {"bits": bits(fit), "numbers": numbers(fit)} for name, fit in made.items()}


def elsewhere(**environment: str) -> dict[str, dict[str, object]]:
    """What a process in another environment says."""
    code = "import json, sys, tests.test_reproducible as t; json.dump(t.tell(), sys.stderr)"
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        timeout=300,
    )
    return json.loads(done.stderr.splitlines()[-1])


def multiplies_matrices(environment) -> bool:
    """Whether NumPy by itself multiplies matrices with these settings, instead of crashing."""
    code = "import numpy as np; np.ones((1000, 1000)) @ np.ones((1000, 1000))"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=False)
    return done.returncode == 0


@pytest.fixture(scope="module")
def here():
    return tell()


def assert_same_bits(found, expected):
    assert {name: each["bits"] for name, each in found.items()} == {
        name: each["bits"] for name, each in expected.items()
    }


def distances(found, expected) -> Iterator[tuple[str, float]]:
    """Largest differences in posterior sds, of draws and of moments of each fit's variables."""
    for name, fit in expected.items():
        for variable, values in fit["numbers"].items():
            other, sds = found[name]["numbers"][variable], np.array(values["sd"])
            least = np.nanmin(sds) if np.isfinite(sds).any() else 1.0
            for kind in ("draws", "mean", "sd"):
                gap = np.abs(np.subtract(other[kind], values[kind]))
                yield kind, float(np.nan_to_num(gap).max() / least)


def assert_same_numbers(found, expected):
    for kind, distance in distances(found, expected):
        assert distance < (OTHER_DRAWS if kind == "draws" else OTHER_CODE)


def test_threads_and_the_order_of_sets_change_no_bit(here):
    for threads, order in (("1", "1"), ("7", "2")):
        numbers_of = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = dict.fromkeys(numbers_of, threads) | {"PYTHONHASHSEED": order}
        assert_same_bits(elsewhere(**environment), here)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels are those of x86-64")
@pytest.mark.parametrize(
    "environment",
    [
        {"OPENBLAS_CORETYPE": "Haswell"},
        {"NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3 AVX512_ICL AVX512_SPR"},
    ],
    ids=["Haswell", "no AVX"],
)
def test_other_processors_give_the_same_numbers(environment, here):
    """The code that NumPy and OpenBLAS would run there; what a processor has not, is ignored."""
    if not multiplies_matrices(environment):
        pytest.skip("NumPy's own product of matrices crashes with the other processor's code here")
    assert_same_numbers(elsewhere(**environment), here)


def test_the_order_of_fits_changes_no_bit(here):
    again = {name: {"bits": bits(FITS[name]())} for name in reversed(FITS)}
    assert_same_bits(again, here)


@pytest.mark.parametrize("cores", [1, 3, 8])
def test_the_number_of_threads_changes_no_bit(cores, here, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert bits(FITS["covariates"]()) == here["covariates"]["bits"]


def test_neither_memory_nor_blocks_change_a_bit(monkeypatch, schools):
    kept = hm.fit(schools, random_seed=1)
    made = hm.fit(schools, random_seed=1, memory_budget=0)
    assert made.draws().identical(kept.draws())
    monkeypatch.setattr("hiermodels.posterior.record.GROUPS_AT_A_TIME", 3)
    assert made.draws().identical(kept.draws())


def test_copies_are_the_same(schools):
    """A fit could once be neither copied nor sent to another process."""
    fit = hm.fit(schools, random_seed=1, memory_budget=0)
    for other in (copy.copy(fit), copy.deepcopy(fit), pickle.loads(pickle.dumps(fit))):
        assert bits(other) == bits(fit)
        assert other.draws().identical(fit.draws())
        assert other.reference().mean.identical(fit.reference().mean)


def test_the_global_generator_is_neither_used_nor_moved(here):
    np.random.seed(5)  # noqa: NPY002
    assert bits(FITS["eight schools"]()) == here["eight schools"]["bits"]
    expected = np.random.RandomState(5).random_sample()
    assert np.random.random_sample() == expected  # noqa: NPY002


def code() -> dict[str, str]:
    """What decides on the last bits: the libraries, and the code that they chose."""
    libraries = threadpoolctl.threadpool_info()
    kernels = {each.get("architecture") for each in libraries if each["user_api"] == "blas"}
    from numpy._core._multiarray_umath import __cpu_features__

    features = [name for name, found in __cpu_features__.items() if found]
    return {
        "system": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
        "numpy": np.__version__,
        "kernels": " ".join(sorted(map(str, kernels))),
        "features": hashlib.sha256(" ".join(sorted(features)).encode()).hexdigest()[:8],
    }


STORED = Path(__file__).with_name("reproducible.json")


@pytest.fixture(scope="module")
def stored():
    """What ``python tests/test_reproducible.py`` has written: no truth, but what was promised."""
    return json.loads(STORED.read_text())


def test_the_numbers_are_those_of_earlier_versions(here, stored):
    """On any machine; whoever changes how draws are made says so in CHANGELOG, and stores anew."""
    assert here.keys() == stored["fits"].keys()
    assert_same_numbers(here, stored["fits"])


@pytest.mark.skipif(
    json.loads(STORED.read_text())["code"] != code() if STORED.exists() else True,
    reason="the libraries, or the code that they chose for this processor, are others",
)
def test_the_bits_are_those_of_earlier_versions(here, stored):
    assert_same_bits(here, stored["fits"])


if __name__ == "__main__":
    STORED.write_text(f"{json.dumps({'code': code(), 'fits': tell()}, indent=1)}\n")
