"""Make the pictures of the documentation: ``python docs/make_images.py``, with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import hiermodels as hm
from hiermodels.demo import save_plot
from hiermodels.plots import plot_sensitivity

FOLDER = Path(__file__).parent / "images"
SEED = 1
PRIORS = {
    "flat variance": hm.FlatVariance(),
    "flat sd": hm.FlatSD(),
    "half-Cauchy(5)": hm.HalfCauchy(5),
    "half-normal(5)": hm.HalfNormal(5),
}


def pictures() -> dict[str, Callable[[], Any]]:
    """What is drawn, by the name of its file."""
    players = hm.fit(
        hm.datasets.load_baseball(), outcome="y", groups="player", se="sigma", random_seed=SEED
    )
    schools = hm.fit(hm.datasets.load_eight_schools(), random_seed=SEED)
    calendar = hm.fit(hm.datasets.load_school_calendar(), random_seed=SEED)
    pupils = hm.fit(
        hm.datasets.simulate_classrooms(n_schools=30, pupils=(5, 25), random_seed=SEED),
        "score ~ (1 | school/classroom)",
        random_seed=SEED,
    )
    references = {
        name: hm.reference(hm.datasets.load_eight_schools(), priors={"tau": prior})
        for name, prior in PRIORS.items()
    }
    return {
        "baseball_shrinkage": players.plot_shrinkage,
        "district_shrinkage": lambda: calendar.plot_shrinkage(level="district"),
        "caterpillar": lambda: calendar.plot_caterpillar(level="district"),
        "trace_tau": schools.plot_trace_tau,
        "variance": pupils.plot_variance,
        "ppc_stat": lambda: pupils.plot_ppc("stat", random_seed=SEED),
        "ppc_group": lambda: calendar.plot_ppc("group", random_seed=SEED),
        "ppc_ecdf": lambda: calendar.plot_ppc("ecdf", random_seed=SEED),
        "loo_pit": lambda: calendar.plot_ppc("loo_pit", random_seed=SEED),
        "sensitivity": lambda: plot_sensitivity(references),
        "sensitivity_shift": lambda: plot_sensitivity(references, level="school"),
    }


if __name__ == "__main__":
    for name, draw in pictures().items():
        print(save_plot(draw(), FOLDER / f"{name}.png"))
