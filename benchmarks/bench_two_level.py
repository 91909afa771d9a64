"""Speed on a small data set: import, fit, and draws against NUTS.

import  time to import the package, against that of NumPy, pandas and xarray, which it needs
fit     exact fit of the baseball data with 4 × 1,000 draws, the first in a process and later ones
nuts    effective draws per second, exact against NUTS (noncentered, nutpie) on the same data
"""

from __future__ import annotations

import contextlib
import statistics
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from efficiency import Run, agreement, compare
from measure import (
    duration,
    goal,
    in_fresh_process,
    in_turn,
    run_parts,
    seconds,
    spread,
    title,
)

import hiermodels as hm

IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
FIRST_FIT = """
import hiermodels as hm, time
data = hm.datasets.load_baseball()
start = time.perf_counter()
hm.fit(data, outcome="y", groups="player", se="sigma", random_seed=1)
print(time.perf_counter() - start)
"""
MAX_IMPORT = 1.5  # of NumPy, pandas and xarray
MAX_FIT, MAX_FIRST_FIT = 20.0, 500.0  # milliseconds
VARIABLES = ("tau", "mu", "theta")
TUNE = 1000


def bench_import(rounds: int = 10) -> None:
    """Import in fresh processes, in turn."""
    title("Import, in fresh processes")
    modules = {"hiermodels": "hiermodels", "needed": "numpy, pandas, xarray"}
    times: dict[str, list[float]] = {name: [] for name in modules}
    for turn in range(rounds + 1):
        for name, imported in modules.items():
            elapsed = float(in_fresh_process(IMPORT.format(imported)))
            if turn:  # the first fills the caches of files
                times[name].append(elapsed)
    print(f"numpy, pandas, xarray  {spread(times['needed'])}")
    print(f"hiermodels             {spread(times['hiermodels'])}")
    ratio = min(times["hiermodels"]) / min(times["needed"])
    print(f"ratio                  {ratio:.2f} ({goal(ratio, MAX_IMPORT)})")


def exact_fit(random_seed: int = 1) -> hm.Fit:
    """Fit the baseball data exactly."""
    data = hm.datasets.load_baseball()
    return hm.fit(data, outcome="y", groups="player", se="sigma", random_seed=random_seed)


def bench_fit(rounds: int = 50, processes: int = 5) -> None:
    """Fit for the first time in a process, and again."""
    title("Exact fit of the baseball data, 18 players, 4 × 1,000 draws of everything")
    first = [float(in_fresh_process(FIRST_FIT)) for _ in range(processes)]
    print(f"first in a process     {spread(first)}; {goal(1e3 * min(first), MAX_FIRST_FIT, ' ms')}")
    exact_fit()
    warm = in_turn({"fit": exact_fit}, rounds)["fit"]
    print(f"later                  {spread(warm)}; {goal(1e3 * min(warm), MAX_FIT, ' ms')}")


def bench_nuts() -> None:
    """Draw the same posterior exactly and with NUTS."""
    title("Baseball: effective draws (bulk) per second, exact against NUTS")
    if find_spec("pymc") is None or find_spec("nutpie") is None:
        print("skipped: PyMC or nutpie is not installed")
        return
    print("4 × 1,000 draws each, NUTS after 1,000 of tuning; theta: the least of 18 players")
    exact_fit()
    times = [seconds(exact_fit) for _ in range(20)]
    exact = Run("exact", exact_fit().datatree["posterior"].to_dataset(), statistics.median(times))
    nuts = whole_nuts_fit()
    compare(VARIABLES, exact, [nuts, compiled_nuts()])
    print(agreement(nuts, exact_fit().reference().mean, VARIABLES))


def whole_nuts_fit() -> Run:
    """Time ``hm.fit``: build, compile, tune, draw, check."""
    data = hm.datasets.load_baseball()

    def fit() -> hm.Fit:
        return hm.fit(
            data, outcome="y", groups="player", se="sigma", engine="nuts",
            parameterization="noncentered", tune=TUNE, random_seed=1,
        )  # fmt: skip

    with quiet():
        first = seconds(fit)  # imports PyMC, and fills what caches there are
        elapsed, mcmc = timed(fit)
    print(f"the first fit with NUTS in a process took {duration(first)}, with the import of PyMC")
    return Run("NUTS with compilation", mcmc.datatree["posterior"].to_dataset(), elapsed)


def compiled_nuts(rounds: int = 5) -> Run:
    """Time the sampler alone, on a model that is compiled already."""
    import nutpie

    with quiet():
        model = hm.two_level(hm.datasets.load_baseball(), outcome="y", groups="player", se="sigma")
        compiled = nutpie.compile_pymc_model(model)

        def draw() -> Any:
            return nutpie.sample(compiled, tune=TUNE, chains=4, seed=1, progress_bar=False)

        draw()
        runs = [timed(draw) for _ in range(rounds)]
    elapsed = statistics.median(time for time, _ in runs)
    return Run("NUTS, compiled before", runs[0][1]["posterior"].to_dataset(), elapsed)


def timed[T](call: Callable[[], T]) -> tuple[float, T]:
    """Seconds and result of one call."""
    results: list[T] = []
    elapsed = seconds(lambda: results.append(call()))
    return elapsed, results[0]


@contextlib.contextmanager
def quiet() -> Any:
    """Leave out warnings: whether NUTS converged is not the question here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


PARTS = {"import": bench_import, "fit": bench_fit, "nuts": bench_nuts}

if __name__ == "__main__":
    run_parts(__doc__, PARTS)
