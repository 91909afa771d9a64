"""It refuses, or it is right: interrupted, side by side with others, and with damaged files."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import h5py
import numpy as np
import pandas as pd
import pytest
import threadpoolctl
import xarray as xr

import hiermodels as hm
from hiermodels.cli import main
from hiermodels.core import hdf5
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.core.threads import Shared

PRIORS = {"mu": hm.Normal(0.0, 10.0), "tau": hm.HalfNormal(10.0)}
ROOT = Path(__file__).parents[2]


def digest(fit: hm.Fit) -> str:
    """The bits of all draws."""
    found = hashlib.sha256()
    for name, values in fit.datatree["posterior"].to_dataset().data_vars.items():
        found.update(f"{name}{values.dims}".encode() + values.to_numpy().tobytes())
    return found.hexdigest()


def blas_threads() -> set[int]:
    """How many threads each BLAS that is loaded by now may use."""
    libraries = threadpoolctl.threadpool_info()
    return {each["num_threads"] for each in libraries if each["user_api"] == "blas"}


# Side by side.


def products() -> pd.DataFrame:
    """Rows whose products of matrices OpenBLAS would split among threads."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(6000, 4)), columns=list("yabc"))
    return frame.assign(group=np.repeat(np.arange(300), 20))


def fitted(seed: int) -> str:
    return digest(hm.fit(products(), "y ~ a*b*c + (1 | group)", draws=50, random_seed=seed))


def test_threads_that_overlap_leave_blas_its_threads():
    """Once each put back what it had found: one thread, for good, if another had just set that."""
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before, inside = blas_threads(), Barrier(2)

        def first():
            with one_blas_thread():
                inside.wait(30)
                inside.wait(30)  # the second is inside now
            inside.wait(30)  # the first has left, and the second is still computing
            inside.wait(30)

        def second():
            inside.wait(30)
            with one_blas_thread():
                inside.wait(30)
                inside.wait(30)
                still = blas_threads()
                inside.wait(30)
            return still

        with ThreadPoolExecutor(2) as pool:
            pool.submit(first)
            assert pool.submit(second).result(60) == {1}
        assert blas_threads() == before


LATE = """
import threadpoolctl
from hiermodels.core.blas import one_blas_thread, scipy_linalg

def threads():
    return [each["num_threads"] for each in threadpoolctl.threadpool_info()]

before = threads()
with one_blas_thread():
    scipy_linalg()
    inside = threads()
after = threads()
with one_blas_thread():
    again = threads()
print([before, inside, after, again])
"""


def test_scipys_blas_is_held_too_though_it_is_loaded_later():
    """Once it took all threads, and a fit's first draws depended on their number."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    command = [sys.executable, "-c", LATE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    before, inside, after, again = json.loads(done.stdout)
    assert len(inside) > len(before)
    assert set(inside) == set(again) == {1}
    assert set(after) == set(before)


def test_a_setting_is_put_back_after_an_error():
    log = []

    class Setting:
        def __enter__(self):
            log.append("made")

        def __exit__(self, *_):
            log.append("undone")

    shared = Shared(Setting)
    with pytest.raises(KeyboardInterrupt), shared.held(), shared.held():
        raise KeyboardInterrupt
    with shared.held():
        pass
    assert log == ["made", "undone"] * 2


def test_eight_threads_fit_at_the_same_time():
    before = blas_threads()
    alone = [fitted(seed) for seed in range(4)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fitted, [0, 1, 2, 3] * 2))
    assert together == alone * 2
    assert blas_threads() == before


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_compute_the_same_bits(method):
    """After threads were used here, too: nothing that a child needs is locked for ever."""
    alone = [fitted(1), fitted(2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(fitted, [1, 2]))
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(fitted, [1, 2]).get(timeout=120) == alone


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_while_another_thread_computes():
    """The child may compute, and its BLAS works."""
    inside = Barrier(2)

    def compute():
        with one_blas_thread():
            inside.wait(30)
            inside.wait(30)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(compute)
        inside.wait(30)
        child = os.fork()
        if not child:
            with one_blas_thread():
                os._exit(7)
        inside.wait(30)
        done.result(30)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# Interrupted.


INTERRUPTED = """
import logging, multiprocessing, os, signal, sys, threading
import nutpie, pymc.sampling.mcmc
import hiermodels as hm
from tests import compilations
compilations.share()  # three fits of one model
signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells have jobs ignore
schools = hm.datasets.load_eight_schools()
samplers = [
    ("nutpie", 2, nutpie, "sample"),
    ("pymc", 2, pymc.sampling.mcmc, "_mp_sample"),
    ("pymc", 1, pymc.sampling.mcmc, "_sample_many"),  # one chain after another
]
for sampler, cores, module, begins in samplers:
    tune = 500_000 if (sampler, cores) == ("pymc", 2) else 100  # interrupted while it is tuned
    begin = getattr(module, begins)
    def interrupted(*arguments, **named):
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
        return begin(*arguments, **named)
    setattr(module, begins, interrupted)
    options = {"draws": 500_000, "tune": tune, "cores": cores, "chains": 3, "random_seed": 1}
    try:
        fit = hm.fit(schools, engine="nuts", nuts_sampler=sampler, **options)
        print(sampler, dict(fit.datatree["posterior"].sizes))
    except KeyboardInterrupt:
        print(sampler, "interrupted", multiprocessing.active_children(), threading.active_count())
    print(logging.getLogger("pymc").level)
print(len(hm.fit(schools, random_seed=1).datatree["posterior"]["draw"]))
"""


@pytest.mark.slow
def test_an_interrupted_sampler_gives_no_fit_of_a_part():
    """It once gave one of fewer draws and chains, which looked complete."""
    command = [sys.executable, "-W", "ignore", "-c", INTERRUPTED]
    options = {"capture_output": True, "text": True, "timeout": 300, "cwd": ROOT}
    done = subprocess.run(command, **options, check=True)
    found = [line for line in done.stdout.splitlines() if not line.startswith("outcome =")]
    assert found == [
        *("nutpie interrupted [] 1", "20", "pymc interrupted [] 1", "20"),
        *("pymc interrupted [] 1", "20", "1000"),
    ]


STOPPED = """
import multiprocessing, os, signal, sys, threading, time
import xarray as xr
import hiermodels as hm
from hiermodels.results import calibration_record
from tests import compilations
calibration_record.SAVE_EVERY = 0.2  # seconds
signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells have jobs ignore
if sys.argv[2] == "nuts":
    compilations.share()  # three calibrations of one model
schools, path = hm.datasets.load_eight_schools(), sys.argv[1]
case = {"priors": {"mu": hm.Normal(0, 10), "tau": hm.HalfNormal(10)}, "random_seed": 1}
case |= {"engine": sys.argv[2], "draws": 50, "chains": 2}
def interrupt():
    while not os.path.exists(path):  # it is compiling, or has not saved yet
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    hm.calibrate(schools, simulations=100_000, path=path, **case)
except KeyboardInterrupt:
    print("interrupted", multiprocessing.active_children(), threading.active_count())
with xr.open_datatree(path) as tree:
    finished = tree["prior_sbc"].sizes["draw"]
continued = hm.calibrate(schools, simulations=finished + 10, path=path, **case)
whole = hm.calibrate(schools, simulations=finished + 10, **case)
print(finished > 0, continued.datatree["prior_sbc"].equals(whole.datatree["prior_sbc"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["exact", "nuts"])
def test_a_calibration_that_was_stopped_goes_on(engine, tmp_path):
    """A signal from outside, in the midst of whatever it does: finished simulations are kept."""
    command = [sys.executable, "-W", "ignore", "-c", STOPPED, tmp_path / "sbc.nc", engine]
    options = {"capture_output": True, "text": True, "timeout": 300, "cwd": ROOT}
    done = subprocess.run(command, **options, check=True)
    found = [line for line in done.stdout.splitlines() if not line.startswith("outcome =")]
    assert found == ["interrupted [] 1", "True True"]
    assert [file.name for file in tmp_path.iterdir()] == ["sbc.nc"]


@pytest.mark.parametrize(("at", "in_all"), [(1, 4), (150, 153), (399, 401), (800, 800)])
def test_chains_after_an_interrupted_one_end_with_it(schools, monkeypatch, at, in_all):
    """PyMC, in one process, ends one chain and began the next: four of 200 steps each."""
    from pymc.step_methods import NUTS

    step, made = NUTS.step, []

    def counted(self, point):
        made.append(1)
        if len(made) == at:
            raise KeyboardInterrupt
        return step(self, point)

    monkeypatch.setattr(NUTS, "step", counted)
    options = {"nuts_sampler": "pymc", "cores": 1, "draws": 100, "tune": 100, "chains": 4}
    with pytest.raises(KeyboardInterrupt):
        hm.fit(schools, engine="nuts", random_seed=1, **options)
    assert len(made) == in_all


@pytest.mark.parametrize("sizes", [(3, 100), (4, 99)])
def test_draws_that_a_sampler_did_not_finish_are_no_fit(sizes, schools, monkeypatch):
    """Samplers return what they have when they are interrupted, without an error."""
    part = xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": (SAMPLE_DIMS, np.zeros(sizes))})})
    monkeypatch.setattr("pymc.sample", lambda *_, **__: part)
    with pytest.raises(KeyboardInterrupt, match=r"of 4 × 100"):
        hm.fit(schools, engine="nuts", draws=100, tune=20, random_seed=1)


PLACES = {
    "fit": "hiermodels.numerics.rejection.draw",
    "compare": "hiermodels.exact.quadrature.IntegratedPosterior.cdf",
    "report": "hiermodels.results.report.sections.estimate",
    "predict": "numpy.random.default_rng",
    "to_netcdf": "os.replace",
}


@pytest.mark.parametrize("operation", PLACES)
def test_an_interruption_leaves_all_as_it_was(operation, schools, tmp_path, monkeypatch):
    """BLAS's threads, warnings' filters, matplotlib, files; and what is done next is right."""
    import warnings

    import matplotlib as mpl
    from matplotlib import pyplot as plt

    fit = hm.fit(schools, random_seed=1, draws=50)
    hm.Fit.reference(fit)
    operations = {
        "fit": lambda: digest(hm.fit(schools, random_seed=1, draws=50)),
        "compare": lambda: repr(hm.compare(fit, fit)),
        "report": lambda: fit.report(tmp_path / "page.html").read_text(),
        "predict": lambda: str(fit.predict(random_seed=1)),
        "to_netcdf": lambda: digest(hm.load(fit.to_netcdf(tmp_path / "fit.nc"))),
    }
    expected = operations[operation]()
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def state():
        return blas_threads(), list(warnings.filters), dict(mpl.rcParams), plt.get_fignums()

    before = state()

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PLACES[operation], interrupt)
        with pytest.raises(KeyboardInterrupt):
            operations[operation]()
    assert state() == before
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert operations[operation]() == expected


# Two that write at once, and no permission.


def test_of_two_that_write_at_once_one_is_there_whole(schools, tmp_path):
    path = tmp_path / "fit.nc"
    fits = [hm.fit(schools, draws=50, random_seed=seed) for seed in (1, 2)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: fits[i % 2].to_netcdf(path), range(12)))
    assert digest(hm.load(path)) in {digest(fit) for fit in fits}
    assert list(tmp_path.iterdir()) == [path]


MOMENTS = {
    "before the file": "secrets.token_hex",
    "while it is written": "pathlib.Path.write_bytes",
    "before it is checked": "hiermodels.core.container.check_written",
    "before it is on the disk": "os.fsync",
    "before it takes its place": "os.replace",
    "afterwards": "pathlib.Path.unlink",
}


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_killed_while_saving_leaves_one_whole_file(
    moment, schools, tmp_path, monkeypatch
):
    old, new = (hm.fit(schools, draws=20, random_seed=seed) for seed in (1, 2))
    path = old.to_netcdf(tmp_path / "fit.nc")
    child = os.fork()
    if not child:
        monkeypatch.setattr(MOMENTS[moment], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        new.to_netcdf(path)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert digest(hm.load(path)) == digest(new if moment == "afterwards" else old)
    assert digest(hm.load(new.to_netcdf(path))) == digest(new)


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become nobody")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_folder_that_may_not_be_written_to(schools):
    fit = hm.fit(schools, draws=5)
    folder = Path(tempfile.mkdtemp())  # that nobody can reach, too
    folder.chmod(0o555)
    child = os.fork()
    if not child:
        try:
            os.setuid(65534)
            fit.to_netcdf(folder / "fit.nc")
        except hm.DataError as error:
            os._exit(0 if "no permission to write in" in str(error) else 1)
        os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    folder.rmdir()  # nothing is in it
    assert status == 0


# Files that are damaged, foreign or made to harm.


@pytest.fixture(scope="module")
def good(schools, tmp_path_factory):
    """A saved fit."""
    fit = hm.fit(schools, draws=20, random_seed=1)
    return fit.to_netcdf(tmp_path_factory.mktemp("good") / "fit.nc")


@pytest.fixture(scope="module")
def saved(schools, good):
    """A saved fit, statistics and a calibration, each with what reads it."""
    folder = good.parent
    classes = hm.datasets.load_dyestuff()
    statistics = hm.SufficientStatistics.of(classes, "yield_ ~ (1 | batch)")
    found = hm.load(good)
    calibration = folder / "calibration.nc"
    calibrated(schools, calibration)
    return {
        "fit": (good, hm.load, found),
        "statistics": (
            statistics.to_netcdf(folder / "statistics.nc"),
            hm.load_statistics,
            statistics,
        ),
        "calibration": (calibration, lambda path: calibrated(schools, path), None),
    }


def calibrated(schools, path):
    options = {"priors": PRIORS, "simulations": 10, "draws": 20}
    return hm.calibrate(schools, random_seed=1, path=path, **options)


def refused(read, path) -> str:
    with pytest.raises(hm.HierModelsError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["fit", "statistics", "calibration"])
def test_a_file_that_was_cut_off_is_refused(kind, saved, tmp_path):
    original, read, _ = saved[kind]
    image, path = original.read_bytes(), tmp_path / "cut.nc"
    for size in np.linspace(0, len(image) - hdf5.SEAL - 1, 50, dtype=int):
        path.write_bytes(image[:size])
        assert "cannot be read" in refused(read, path)


@pytest.mark.parametrize("kind", ["fit", "statistics", "calibration"])
def test_a_file_with_a_bit_flipped_is_refused(kind, saved, tmp_path):
    """HDF5 alone reads some of them for ever, and others wrongly."""
    original, read, _ = saved[kind]
    image, path = original.read_bytes(), tmp_path / "flipped.nc"
    rng = np.random.default_rng(1)
    for place in rng.integers(len(image) - hdf5.SEAL, size=100):
        damaged = bytearray(image)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert "content that does not agree with its checksum" in refused(read, path)


def test_a_seal_that_is_damaged_or_lost_costs_nothing(good, tmp_path):
    """What it guards is whole; the files of other programs have none."""
    image, path = good.read_bytes(), tmp_path / "fit.nc"
    for end in (b"", image[-hdf5.SEAL : -1], b"\0" + image[-hdf5.SEAL + 1 :]):
        path.write_bytes(image[: -hdf5.SEAL] + end)
        assert digest(hm.load(path)) == digest(hm.load(good))


def test_a_calibration_whose_numbers_were_changed_is_refused(schools, saved, tmp_path):
    """It once went on with them."""
    path = shutil.copy(saved["calibration"][0], tmp_path / "calibration.nc")
    with h5py.File(path, "r+") as file:
        file["prior_sbc/tau"][0, 3] = 0.5
    assert "do not agree with their checksums" in refused(lambda p: calibrated(schools, p), path)


def harmful(file: h5py.File, how: str, folder) -> None:
    """Put into a saved fit what would do harm."""
    group = file["posterior"]
    if how == "circle":
        group["again"] = file["/"]
    elif how == "soft link":
        group["again"] = h5py.SoftLink("/")
    elif how == "external link":
        group["other"] = h5py.ExternalLink(str(folder / "pipe"), "/posterior")
    elif how == "depth":
        for _ in range(500):
            group = group.create_group("g")
    elif how == "size":
        group.create_dataset("big", (10**12,), "f8", chunks=(1000,))
    elif how == "other file":
        secret = [(str(folder / "secret"), 0, 8)]
        group.create_dataset("secret", (8,), "u1", external=secret)
    else:
        layout = h5py.VirtualLayout((8,), "f8")
        layout[:] = h5py.VirtualSource(str(folder / "pipe"), "x", (8,))
        group.create_virtual_dataset("virtual", layout)


HARM = {
    "circle": "within itself, or too deep",
    "soft link": "a link 'again' to '/', elsewhere",
    "external link": "a link 'other'",
    "depth": "within itself, or too deep",
    "size": "8,000,000,0.. bytes declared in a file of|declared in a file of",
    "other file": "whose numbers are in another file",
    "virtual": "whose numbers are in another file",
}


@pytest.mark.parametrize("how", HARM)
def test_a_file_made_to_harm_is_refused_unread(how, good, schools, tmp_path, capsys):
    """They once hung, read other files, or asked for all memory."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "secret").write_bytes(b"password")
    path = shutil.copy(good, tmp_path / "fit.nc")
    with h5py.File(path, "r+") as file:
        harmful(file, how, tmp_path)
    for read in (hm.load, hm.load_statistics, lambda p: calibrated(schools, p)):
        with pytest.raises(hm.HierModelsError, match=HARM[how]):
            read(path)
    assert main(["compare", str(path), str(good)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def foreign(kind: str, path, schools) -> None:
    """Make a file, or something else, of another kind."""
    if kind == "netCDF-3":
        xr.Dataset({"a": ("x", [1.0, 2.0])}).to_netcdf(path, engine="scipy")
    elif kind == "HDF5":
        with h5py.File(path, "w") as file:
            file["a"] = np.arange(5.0)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to("nothing")
    else:
        path.write_bytes({"empty": b"", "text": b"a,b\n1,2\n"}[kind])


@pytest.mark.parametrize(
    "kind", ["netCDF-3", "HDF5", "zip", "pipe", "folder", "empty", "text", "link to nothing"]
)
def test_other_files_are_refused(kind, good, schools, tmp_path, recwarn):
    """A pipe once kept a calibration waiting for ever, and HDF5 without dimensions warned."""
    path = tmp_path / "other.nc"
    foreign(kind, path, schools)
    expected = FileNotFoundError if kind == "link to nothing" else hm.HierModelsError
    for read in (hm.load, hm.load_statistics):
        with pytest.raises(expected):
            read(path)
    assert main(["compare", str(path), str(good)]) == 2
    assert main(["compare", str(good), str(path)]) == 2
    if kind != "link to nothing":
        with pytest.raises(hm.HierModelsError, match=r"does not hold a calibration|not a regular"):
            calibrated(schools, path)
    assert not [str(each.message) for each in recwarn if "storage" in each.filename]


def test_no_pickle_is_ever_read(good, tmp_path):
    """Opaque and compound values stay what they are, or the file is refused."""
    path = shutil.copy(good, tmp_path / "fit.nc")
    with h5py.File(path, "r+") as file:
        pickled = np.array([b"cos\nsystem\n(S'touch broken'\ntR."], dtype="V31")
        file["posterior"].create_dataset("opaque", data=pickled)
        file["hiermodels"].create_dataset("text", data=[b"cos\nsystem\n"])
    refused(hm.load, path)
    assert not (tmp_path / "broken").exists()
