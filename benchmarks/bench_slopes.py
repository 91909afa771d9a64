"""Speed of slopes and of four levels.

sleep    the sleep study: a fit of 4 × 1,000 draws, the reference, and the first fit in a process
designs  slopes in 85 groups of 46 designs, as of radon by county; and in 1,000 groups, all
         different
both     correlated slopes at both of two levels: 32 classes of eight schools, and 1,680 children
         of 60 schools, each four times
levels   four levels with as many rows and groups as Tennessee's STAR: 25,000 rows, 1,374 classes

Goals are held to the time of the processor, which other programs beside hardly change; that of the
clock stands beside it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from measure import exponent, goal, in_fresh_process, measured, run_parts, title

import hiermodels as hm

SLEEP = "Reaction ~ Days + (1 + Days | Subject)"
FIRST_FIT = f"""
import time
import hiermodels as hm
data = hm.datasets.load_sleepstudy()
start = time.process_time()
hm.fit(data, {SLEEP!r}, random_seed=1)
print(time.process_time() - start)
"""
MAX_FIT, MAX_REFERENCE, MAX_FIRST = 0.3, 0.5, 1.5  # seconds
MAX_RADON, MAX_DESIGNS, MAX_LEVELS = 3.0, 20.0, 1.5


def bench_sleep() -> None:
    """Fit 18 subjects, and sum up."""
    title("Sleep study, 180 rows, 18 subjects")
    data = hm.datasets.load_sleepstudy()
    first = min(float(in_fresh_process(FIRST_FIT)) for _ in range(3))
    print(
        f"{'first fit in a process':46} {first:7.3f} s of processor; {goal(first, MAX_FIRST, ' s')}"
    )
    measured("fit, 4 × 1,000 draws", lambda: hm.fit(data, SLEEP, random_seed=1), MAX_FIT, 5)
    of_hyper = ["mu", "beta", "tau", "rho", "sigma"]
    measured(
        "reference, means and sds of everything",
        lambda: hm.reference(data, SLEEP).mean["theta"],
        MAX_REFERENCE,
        5,
    )
    measured(
        "and its table of hyperparameters",
        lambda: hm.reference(data, SLEEP).summary(of_hyper),
        None,
    )


def slopes(groups: int, designs: int, random_seed: int = 1) -> pd.DataFrame:
    """Rows of groups with an intercept and the slope of a column of 0 and 1.

    As many different pairs of numbers of 0s and 1s as there are designs.
    """
    rng = np.random.default_rng(random_seed)
    kinds = [(1 + i % 29, i // 29 % 37) for i in range(designs)]
    own = [kinds[i % designs] for i in range(groups)]
    group = np.repeat(np.arange(groups), [sum(kind) for kind in own])
    x = np.concatenate([np.repeat([0.0, 1.0], kind) for kind in own])
    theta = np.array([1.5, -0.6]) + rng.normal(size=(groups, 2)) * [0.35, 0.3]
    y = theta[group, 0] + theta[group, 1] * x + 0.75 * rng.normal(size=len(x))
    return pd.DataFrame({"y": y, "x": x, "g": group.astype(str)})


def bench_designs() -> None:
    """Fit groups of many designs, twice as many and again, for the exponent."""
    title("Slopes by group, 4 × 1,000 draws")
    formula = "y ~ x + (1 + x | g)"
    radon = slopes(85, 46)
    name = f"85 groups of 46 designs, {len(radon):,} rows"
    measured(name, lambda: hm.fit(radon, formula, random_seed=1), MAX_RADON)
    times = {}
    for size in (250, 500, 1000):
        data = slopes(size, size)
        most = MAX_DESIGNS if size == 1000 else None
        name = f"{size:,} groups, all different, {len(data):,} rows"
        times[size] = measured(
            name, lambda data=data: hm.fit(data, formula, random_seed=1), most, rounds=1
        )
    power = exponent([float(size) for size in times], list(times.values()))
    print(f"time grows as the number of groups to the power {power:.2f}")


def star(random_seed: int = 1) -> pd.DataFrame:
    """Pupils in classes in grades in schools, as many as in Tennessee's STAR."""
    rng = np.random.default_rng(random_seed)
    classes = np.sort(rng.integers(0, 80 * 4, 1374))  # of grades of schools
    row = np.sort(rng.integers(0, 1374, 25_000))
    grade, school = classes[row], classes[row] // 4
    frame = pd.DataFrame({"school": school, "grade": grade, "class": row}).astype(str)
    for name, sd in (("school", 20.0), ("grade", 10.0), ("class", 12.0)):
        codes = pd.factorize(frame[name])[0]
        frame["y"] = frame.get("y", 500.0) + sd * rng.normal(size=codes.max() + 1)[codes]
    frame[["x1", "x2", "x3"]] = rng.normal(size=(len(frame), 3))
    frame["y"] += 5 * frame["x1"] + 30 * rng.normal(size=len(frame))
    return frame


def nested_lines(schools: int, classes: int, rows: int, random_seed: int = 1) -> pd.DataFrame:
    """Rows of classes of schools, all with an intercept and a slope of their own."""
    rng = np.random.default_rng(random_seed)
    group = np.repeat(np.arange(schools * classes), rows)
    school, x = group // classes, rng.uniform(-1.5, 1.5, len(group))
    outer = rng.normal(size=(schools, 2)) * [1.0, 0.5]
    inner = rng.normal(size=(schools * classes, 2)) * [0.6, 0.4]
    intercept, slope = (outer[school] + inner[group]).T
    y = intercept + slope * x + 0.7 * rng.normal(size=len(x))
    return pd.DataFrame({"y": y, "x": x, "school": school, "class": group}).astype(
        {"school": str, "class": str}
    )


def bench_both() -> None:
    """Fit, and sum up the smaller one."""
    title("Slopes at both of two levels")
    formula = "y ~ x + (1 + x | school/class)"
    small, large = nested_lines(8, 4, 5), nested_lines(60, 28, 4)
    for data, name in ((small, "8 schools, 32 classes"), (large, "60 schools, 1,680 classes")):
        name = f"{name}, {len(data):,} rows, 4 × 1,000 draws"
        measured(name, lambda data=data: hm.fit(data, formula, random_seed=1), None, rounds=1)
    measured(
        "8 schools: reference, means and sds of all",
        lambda: hm.reference(small, formula).mean["theta_class"],
        None,
        rounds=1,
    )


def bench_levels() -> None:
    """Fit four levels with three covariates."""
    title("Four levels, 25,000 rows, 1,374 classes, three covariates")
    data, formula = star(), "y ~ x1 + x2 + x3 + (1 | school/grade/class)"
    measured("fit, 4 × 1,000 draws", lambda: hm.fit(data, formula, random_seed=1), MAX_LEVELS)
    measured(
        "reference, means and sds of the sds",
        lambda: hm.reference(data, formula).posterior.sd_moments(),
        None,
    )


if __name__ == "__main__":
    run_parts(
        __doc__,
        {
            "sleep": bench_sleep,
            "designs": bench_designs,
            "both": bench_both,
            "levels": bench_levels,
        },
        {"sleep": bench_sleep},
    )
