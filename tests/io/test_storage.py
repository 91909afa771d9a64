"""A fit that was saved and read again is the same fit, or there is an error that says why not."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path

import arviz_base
import h5py
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hiermodels as hm
from hiermodels.core import container, hdf5
from hiermodels.io import netcdf as storage

mpl.use("Agg")


def pupils() -> pd.DataFrame:
    """Classrooms in schools, columns with spaces, and covariates of every kind."""
    rng = np.random.default_rng(5)
    n = 240
    school = np.repeat(np.arange(12), n // 12)
    return pd.DataFrame(
        {
            "school name": [f"š{i} / Nº" for i in school],
            "class no": rng.integers(1, 4, n),
            "test score": rng.normal(size=n) + rng.normal(size=12)[school],
            "ses": rng.normal(size=n),
            "sex": rng.choice(["F", "M"], n),
            "year": rng.integers(1, 4, n),
        }
    )


FORMULA = "`test score` ~ scale(ses) * sex + C(year) + (1 | `school name`/`class no`)"
THREE = {"draws": 60, "random_seed": 2, "priors": {"beta": hm.Normal(0, np.float64(0.1) * 3)}}
POPULATION = {"outcome": "y", "groups": [], "se": None, "random_seed": 4}

FITS = {
    "two levels": lambda df: hm.fit(df, random_seed=1),
    "log likelihood": lambda df: hm.fit(df, random_seed=1, log_likelihood=True),
    "integer labels": lambda df: hm.fit(df.assign(school=[-3, 2**40, *range(6)]), groups="school"),
    "labels of dates": lambda df: hm.fit(
        df.assign(school=pd.date_range("2020-01-01", periods=8)), groups="school"
    ),
    "missing": lambda df: hm.fit(df.assign(y=[np.nan, *df["y"][1:]]), missing="drop"),
    "three levels": lambda df: hm.fit(pupils(), FORMULA, **THREE),
    "on demand": lambda df: hm.fit(df, random_seed=(3, 2**70), memory_budget=0),
    "three levels on demand": lambda df: hm.fit(pupils(), FORMULA, memory_budget=0, **THREE),
    "population": lambda df: hm.fit(df[["y"]], **POPULATION),
    "conjugate": lambda df: hm.fit(
        df[["y"]], priors={"theta": hm.NormalInverseGamma(0, 10, 2, 3)}, **POPULATION
    ),
    "nuts": lambda df: hm.fit(df, engine="nuts", draws=400, random_seed=1),
}

WITH_GROUPS = [name for name in FITS if name not in ("population", "conjugate")]


@pytest.fixture(scope="module", params=FITS)
def fit(request, schools):
    return FITS[request.param](schools)


@pytest.fixture(scope="module")
def again(fit, tmp_path_factory):
    return hm.load(fit.to_netcdf(tmp_path_factory.mktemp("fits") / "fit.nc"))


def assert_same(found, expected):
    """The same values, types and bits, all the way down."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            assert_same(mine, theirs)
    elif hasattr(expected, "__dataclass_fields__"):
        for field in fields(expected):
            assert_same(getattr(found, field.name), getattr(expected, field.name))
    else:
        assert found == expected


def test_spec_data_and_certificate_are_the_same(fit, again):
    assert again.spec == fit.spec
    assert list(again.spec.priors) == list(fit.spec.priors)
    assert_same(again.data, fit.data)
    assert again.engine == fit.engine
    assert again.posterior.certificate == fit.posterior.certificate


def test_the_datatree_is_the_same(fit, again):
    assert again.datatree.identical(fit.datatree)
    for node in fit.datatree.subtree:
        found = again.datatree[node.path].to_dataset()
        assert list(found.variables) == list(node.to_dataset().variables)
        for name, variable in node.variables.items():
            assert_same(found[name].to_numpy(), variable.to_numpy())
            assert found[name].dims == variable.dims


def test_what_is_shown_and_computed_is_the_same(fit, again):
    assert repr(again) == repr(fit)
    assert again._repr_html_() == fit._repr_html_()
    assert repr(again.datatree) == repr(fit.datatree)
    pd.testing.assert_frame_equal(
        again.summary(round_to="none"), fit.summary(round_to="none"), check_exact=True
    )
    draws, drawn = (one.datatree["posterior"].to_dataset() for one in (fit, again))
    assert drawn.mean(["chain", "draw"]).identical(draws.mean(["chain", "draw"]))  # to the last bit
    assert again.reference().mean.identical(fit.reference().mean)
    assert again.reference().sd.identical(fit.reference().sd)


@pytest.mark.parametrize("fit", WITH_GROUPS, indirect=True)
def test_draws_of_groups_are_the_same(fit, again):
    assert again.draws().identical(fit.draws())
    some = fit.data.labels[-1][[3, 1]]
    assert again.draws(some).identical(fit.draws(some))
    assert again.draws(some).identical(again.draws().sel({fit.spec.groups[-1]: some}))


def test_the_design_applies_to_new_rows(schools, tmp_path):
    fit = FITS["three levels"](schools)
    again = hm.load(fit.to_netcdf(tmp_path / "fit.nc"))
    new = pupils().head(7)
    assert_same(again.data.design.apply(new), fit.data.design.apply(new))


def test_the_picture_is_the_same(schools, tmp_path):
    fit = hm.fit(schools, random_seed=1)
    again = hm.load(fit.to_netcdf(tmp_path / "fit.nc"))
    for i, one in enumerate((fit, again)):
        one.plot_shrinkage().savefig(tmp_path / f"{i}.png")
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()


def test_a_saved_fit_can_be_saved_again(schools, tmp_path):
    fit = FITS["three levels on demand"](schools)
    first = hm.load(fit.to_netcdf(tmp_path / "1.nc"))
    second = hm.load(first.to_netcdf(tmp_path / "2.nc"))
    assert second.draws().identical(fit.draws())
    assert second.datatree.identical(fit.datatree)


def test_prior_draws_covariates_and_attributes_are_kept(tmp_path):
    priors = {"mu": hm.Normal(0, 2), "beta": hm.Normal(0, 1)}
    priors |= {name: hm.HalfNormal(1) for name in ("tau", "sigma")}
    formula = "`test score` ~ ses * sex + (1 | `school name`)"
    fit = hm.fit(pupils(), formula, priors=priors, draws=20, random_seed=1, prior=True)
    path = fit.to_netcdf(tmp_path / "fit.nc")
    again = hm.load(path)
    assert again.datatree.identical(fit.datatree)
    assert {"prior", "prior_predictive"} < set(again.datatree.children)
    assert again.datatree["constant_data"]["ses:sex[M]"].equals(
        fit.datatree["constant_data"]["ses:sex[M]"]
    )
    assert fit.to_netcdf(tmp_path / "again.nc").read_bytes() == path.read_bytes()
    other = hm.fit(pupils(), formula, priors=priors, draws=20, random_seed=1, prior=True)
    for name, group in fit.datatree.children.items():  # but for times, the same of the same seed
        assert other.datatree[name].to_dataset().equals(group.to_dataset())


def test_groups_that_a_user_adds_are_kept(schools, tmp_path):
    fit = hm.fit(schools, draws=20, random_seed=1)
    extra = xr.Dataset(
        {"flag": ("row", np.arange(8) % 2 == 0), "when": ("row", pd.date_range("2020", periods=8))},
        {"place name": ("row", list("abcdefgh"))},
        {"note": "mine"},
    )
    fit.datatree["mine"] = xr.DataTree(extra)
    again = hm.load(fit.to_netcdf(tmp_path / "fit.nc"))
    assert again.datatree.identical(fit.datatree)


def test_arviz_reads_the_file(schools, tmp_path):
    fit = FITS["three levels"](schools)
    path = fit.to_netcdf(tmp_path / "fit.nc")
    found = arviz_base.convert_to_datatree(str(path))
    assert {"posterior", "sample_stats", "observed_data", "constant_data"} <= set(found.children)
    posterior = found["posterior"].to_dataset()
    expected = fit.datatree["posterior"].to_dataset()
    assert list(posterior.data_vars) == list(expected.data_vars)
    for name, values in expected.data_vars.items():
        assert (posterior[name].to_numpy() == values.to_numpy()).all()
    assert found["hiermodels"].attrs["format_version"] == container.FORMAT
    assert found["hiermodels"].attrs["hiermodels_version"] == hm.__version__
    found.close()


# What cannot be saved.


@dataclass(frozen=True)
class HalfNormal(hm.HalfNormal):
    """A class of the user's own that has the name of one of the package's."""


@pytest.mark.parametrize("names", [{"y": "."}, {"y": "_nc4_non_coord_y"}])
def test_names_that_netcdf_has_not(names, schools, tmp_path):
    df = schools.rename(columns=names)
    fit = hm.fit(df, outcome=names["y"], groups="school", se="sigma", draws=5)
    with pytest.raises(hm.SpecError, match="cannot be stored as netCDF"):
        fit.to_netcdf(tmp_path / "fit.nc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (HalfNormal(5), r"HalfNormal\(sd=5\) in spec\.priors\.tau cannot be stored"),
        (
            hm.HalfNormal(Fraction(1, 3)),
            r"Fraction\(1, 3\) in spec\.priors\.tau\.sd cannot be stored",
        ),
    ],
)
def test_priors_that_a_file_cannot_hold(prior, message, schools, tmp_path):
    fit = hm.fit(schools, priors={"tau": prior}, draws=5)
    with pytest.raises(hm.SpecError, match=message):
        fit.to_netcdf(tmp_path / "fit.nc")
    assert not list(tmp_path.iterdir())


def test_attributes_and_groups_that_a_file_cannot_hold(schools, tmp_path):
    fit = hm.fit(schools, draws=5)
    fit.datatree["posterior"].attrs["nothing"] = None
    with pytest.raises(hm.SpecError, match="cannot be stored as netCDF"):
        fit.to_netcdf(tmp_path / "fit.nc")
    fit = hm.fit(schools, draws=5)
    fit.datatree["hiermodels"] = xr.DataTree()
    with pytest.raises(hm.SpecError, match="give it another name"):
        fit.to_netcdf(tmp_path / "fit.nc")
    fit = hm.fit(schools, draws=5, memory_budget=0)
    odd = hm.Fit(replace(fit.posterior, draw_groups=lambda places: np.empty((4, 5, len(places)))))
    with pytest.raises(hm.SpecError, match=r"on demand by .* cannot be stored"):
        odd.to_netcdf(tmp_path / "fit.nc")


# Where it cannot be saved.


@pytest.fixture
def small(schools):
    return hm.fit(schools, draws=5, random_seed=1)


def test_a_folder_or_a_device_is_no_file(small, tmp_path):
    with pytest.raises(hm.DataError, match="it is a folder; name a file"):
        small.to_netcdf(tmp_path)
    with pytest.raises(hm.DataError, match="not a regular file"):
        small.to_netcdf(os.devnull)


def test_a_missing_folder(small, tmp_path):
    with pytest.raises(hm.DataError, match=r"there is no folder '.*nowhere'"):
        small.to_netcdf(tmp_path / "nowhere" / "fit.nc")


def test_an_error_of_the_disk_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "fit.nc"
    path.write_text("old")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(hm.DataError, match=r"Permission denied\. What was there before is"):
        small.to_netcdf(path)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(error, place, small, tmp_path, monkeypatch):
    path = tmp_path / "fit.nc"
    path.write_text("old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, place, fail)
    with pytest.raises((hm.DataError, KeyboardInterrupt)):
        small.to_netcdf(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small, tmp_path):
    """The system refuses to write more than a few bytes; the process lives on."""
    path = tmp_path / "fit.nc"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(hm.DataError, match="File too large"):
            small.to_netcdf(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, sys, time
import hiermodels as hm
fit = hm.fit(hm.datasets.load_eight_schools(), draws=5)
def wait(*_):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = wait
fit.to_netcdf(sys.argv[1])
"""


def test_a_process_that_is_killed_leaves_the_old_file(small, tmp_path):
    path = small.to_netcdf(tmp_path / "fit.nc")
    old = path.read_bytes()
    process = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
    for line in process.stdout:
        if line == b"writing\n":
            process.kill()
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 2  # a file that was begun has no chance to go


def test_the_file_keeps_its_mode_and_links(small, tmp_path):
    path = tmp_path / "fit.nc"
    small.to_netcdf(path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link = tmp_path / "link.nc"
    link.symlink_to(path)
    small.to_netcdf(link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# What cannot be read.


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*nothing\.nc'"):
        hm.load(tmp_path / "nothing.nc")
    with pytest.raises(hm.DataError, match="found a folder"):
        hm.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"school,y\nA,1\n", b"CDF\x01" + bytes(100)])
def test_a_file_of_another_kind(content, tmp_path):
    path = tmp_path / "fit.nc"
    path.write_bytes(content)
    with pytest.raises(hm.DataError, match=r"cannot be read: expected a whole netCDF-4"):
        hm.load(path)


def test_draws_from_elsewhere(small, tmp_path):
    path = tmp_path / "foreign.nc"
    small.datatree.to_netcdf(path, engine="h5netcdf")
    with pytest.raises(hm.DataError, match=r"expected a fit saved by Fit\.to_netcdf"):
        hm.load(path)
    assert storage.read_draws(path).identical(small.datatree)
    xr.Dataset({"x": 1.0}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(hm.DataError, match=r"of dimensions .* found the groups '/'"):
        hm.load(path)


def changed(small, tmp_path, change):
    path = small.to_netcdf(tmp_path / "fit.nc")
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def test_a_later_format(small, tmp_path):
    def age(file):
        file["hiermodels"].attrs["format_version"] = container.FORMAT + 1
        file["hiermodels"].attrs["hiermodels_version"] = "9.9"

    with pytest.raises(hm.DataError, match=r"by hiermodels 9\.9 in format 2; .* reads format 1"):
        hm.load(changed(small, tmp_path, age))


@pytest.mark.parametrize("name", ["hiermodels/data.y", "hiermodels/data.group", "posterior"])
def test_a_part_is_missing(name, small, tmp_path):
    def remove(file):
        del file[name]

    with pytest.raises(hm.DataError):
        hm.load(changed(small, tmp_path, remove))


def test_a_record_that_was_changed(small, tmp_path):
    def forge(file):
        attrs = file["hiermodels"].attrs
        attrs["record"] = attrs["record"].replace("FlatVariance", "FlatSD")

    with pytest.raises(hm.DataError, match="does not agree with its checksum"):
        hm.load(changed(small, tmp_path, forge))


def test_numbers_that_were_changed(small, tmp_path):
    """A checksum tells that a bit of the draws is not what was written, without a seal too."""
    path = small.to_netcdf(tmp_path / "fit.nc")
    image = path.read_bytes()[: -hdf5.SEAL]
    draws = small.datatree["posterior"]["tau"].to_numpy().tobytes()
    place = image.index(draws) + 3
    path.write_bytes(image[:place] + bytes([image[place] ^ 1]) + image[place + 1 :])
    with pytest.raises(hm.DataError, match="numbers or text that do not agree"):
        hm.load(path)


def test_labels_that_were_changed(small, tmp_path):
    def relabel(file):
        file["posterior/school"][0] = "H"

    def retell(file):
        file["posterior"].attrs["engine"] = "nuts"

    for change in (relabel, retell):
        with pytest.raises(hm.DataError, match="numbers or text that do not agree"):
            hm.load(changed(small, tmp_path, change))


def test_a_group_that_was_added_to_the_file_is_read(small, tmp_path):
    path = small.to_netcdf(tmp_path / "fit.nc")
    more = xr.Dataset({"name": ("row", list("abc"))})
    more.to_netcdf(path, group="more", mode="a", engine="h5netcdf")
    assert hm.load(path).datatree["more"].to_dataset().identical(more)


def test_a_file_runs_no_code(small, tmp_path):
    """Only classes that are priors are ever looked up."""

    def forge(file):
        attrs = file["hiermodels"].attrs
        text = attrs["record"].replace('"FlatVariance"', '"Path"')
        attrs["record"] = text
        attrs["record_sha256"] = container.text_checksum(text)

    with pytest.raises(hm.DataError, match=r"class 'Path'.*does not know"):
        hm.load(changed(small, tmp_path, forge))
