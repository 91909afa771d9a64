"""How often hm.compare fails right draws, and how often it catches wrong ones.

false    right draws, independent and autocorrelated, 4 × 1,000, and those of non-centred NUTS
power    wrong samplers, 4 × 1,000 draws, on baseball or eight schools
centred  the centred model of eight schools at target_accept = 0.8, by NUTS
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from measure import run_parts, table, title

import hiermodels as hm

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.statistical.samplers import WRONG, TwoLevel, flat_variance, tree

REPEATS = {"false": 1000, "power": 100, "centred": 20}
ALPHAS = (0.001, 0.01, 0.05)
DATA = {
    "baseball": hm.datasets.load_baseball()[["player", "y", "sigma"]],
    "schools": hm.datasets.load_eight_schools(),
}


def reference(which: str, **priors: hm.Prior) -> hm.ReferencePosterior:
    """Exact posterior of one of the data sets."""
    roles = {"outcome": "y", "groups": DATA[which].columns[0], "se": "sigma"}
    return hm.reference(DATA[which], **roles, priors=priors)


def bench_false() -> None:
    """Count how often right draws fail."""
    title(f"Share of {REPEATS['false']:,} comparisons of right draws that fail")
    rows = []
    for which, data in DATA.items():
        exact = reference(which)
        model = TwoLevel(data["y"], data["sigma"], flat_variance)
        for rho in (0.0, 0.5, 0.9):
            rng = np.random.default_rng(1)
            p = np.array(
                [
                    hm.compare(_tree(which, model.draw(rng, rho)), exact).p_value
                    for _ in range(REPEATS["false"])
                ]
            )
            draws = f"AR(1), rho = {rho}" if rho else "independent"
            rows.append([f"{which}, {draws}", *(f"{np.mean(p < alpha):.2%}" for alpha in ALPHAS)])
    p = nuts_p_values()
    rows.append(["schools, NUTS", *(f"{np.mean(p < alpha):.2%}" for alpha in ALPHAS)])
    table(["", *(f"alpha = {alpha:.1%}" for alpha in ALPHAS)], rows)


def nuts_p_values() -> np.ndarray:
    """Compare runs of NUTS on one model, compiled once, whose chains stay in the tails for long."""
    import nutpie

    exact = reference("schools", tau=hm.HalfCauchy(5))
    compiled = nutpie.compile_pymc_model(hm.build_model(exact.spec, exact.data, "noncentered"))
    options = {"draws": 1000, "tune": 1000, "chains": 4, "target_accept": 0.95}
    found = []
    for seed in range(REPEATS["false"]):
        raw = nutpie.sample(compiled, seed=seed, progress_bar=False, cores=1, **options)
        found.append(hm.compare(raw, exact).p_value)
    return np.array(found)


def bench_power() -> None:
    """Count how often wrong samplers are caught."""
    title(f"Share of {REPEATS['power']} runs of wrong samplers that are caught at alpha = 1 %")
    rows = []
    for name, (which, sample) in WRONG.items():
        exact = reference(which)
        p = [
            hm.compare(
                _tree(which, sample(DATA[which], np.random.default_rng(seed))), exact
            ).p_value
            for seed in range(REPEATS["power"])
        ]
        rows.append([name, which, f"{np.mean(np.array(p) < 0.01):.0%}", f"{max(p):.1e}"])
    table(["sampler", "data", "caught", "largest p"], rows)


def bench_centred() -> None:
    """Count how often a centred model that diverges is caught."""
    count = REPEATS["centred"]
    title(f"Centred NUTS on eight schools, target_accept = 0.8, {count} seeds")
    rows = []
    for name, prior in {"flat on tau": hm.FlatSD(), "half-Cauchy(5)": hm.HalfCauchy(5)}.items():
        exact = reference("schools", tau=prior)
        p, divergences = [], []
        for seed in range(count):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", hm.ConvergenceWarning)
                fit = hm.fit(
                    DATA["schools"], outcome="y", groups="school", se="sigma",
                    priors={"tau": prior}, engine="nuts", parameterization="centered",
                    target_accept=0.8, random_seed=seed, progressbar=False,
                )  # fmt: skip
            p.append(hm.compare(fit, exact).p_value)
            divergences.append(int(fit.datatree["sample_stats"]["diverging"].sum()))
        share = f"{np.mean(np.array(p) < 0.01):.0%}"
        rows.append([name, share, f"{max(p):.1e}", f"{min(divergences)} to {max(divergences)}"])
    table(["prior", "caught", "largest p", "divergences"], rows)


def _tree(which: str, draws: tuple[np.ndarray, ...]) -> object:
    data = DATA[which]
    return tree(draws, data.columns[0], data.iloc[:, 0])


PARTS = {"false": bench_false, "power": bench_power, "centred": bench_centred}

if __name__ == "__main__":
    warnings.simplefilter("ignore", hm.PriorWarning)
    run_parts(__doc__, PARTS)
