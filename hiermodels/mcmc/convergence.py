"""Whether chains have converged."""

from __future__ import annotations

from dataclasses import dataclass

import arviz_stats
import numpy as np
import xarray as xr

from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.mcmc.parameterization import Choice
from hiermodels.model.spec import Spec

MAX_R_HAT = 1.01  # the limits of PyMC's own checks, here and below
MIN_ESS = 100  # per chain
MAX_AT_DEPTH = 0.05
MAX_MEMBERS = 500  # of a level whose chains are checked: ArviZ takes some milliseconds for each


class ConvergenceWarning(UserWarning):
    """NUTS may not have reached the posterior, or not have explored all of it."""


@dataclass(frozen=True)
class Convergence:
    """How well the chains mixed: the worst of all variables that are reported.

    PyMC's ``run_convergence_checks`` is not enough here: it looks at a model's free variables
    alone, which leaves out ``theta`` and ``tau`` of the noncentered model; and it knows the
    name under which one sampler reports trees that were cut off, not the other's.

    Attributes
    ----------
    chains : int
    divergences : int
    at_depth : float
        Largest share of a chain's draws whose tree was cut off at its maximal depth.
    r_hat : float
        Largest rank-normalised split R-hat; nan if it cannot be computed.
    ess_bulk, ess_tail : float
        Smallest effective sample sizes.
    left_out : str
        Of which members of a level not all were looked at, for people to read.

    References
    ----------
    Vehtari et al. (2021), Bayesian Analysis 16:667.
    """

    chains: int
    divergences: int
    at_depth: float
    r_hat: float
    ess_bulk: float
    ess_tail: float
    left_out: str = ""

    @classmethod
    def of(cls, datatree: xr.DataTree, spec: Spec | None = None) -> Convergence:
        """Measure the draws of a posterior, but for sds that are fixed."""
        stats = datatree["sample_stats"]
        draws = datatree["posterior"].to_dataset()
        draws = draws if spec is None else _unknown(draws, spec)
        deep = stats.get("reached_max_treedepth")
        steps = {
            dim: -(-size // MAX_MEMBERS)
            for dim, size in draws.sizes.items()
            if dim not in SAMPLE_DIMS and size > MAX_MEMBERS
        }
        some = draws.isel({dim: slice(None, None, step) for dim, step in steps.items()})
        bulk, tail = (arviz_stats.ess(some, method=kind) for kind in ("bulk", "tail"))
        return cls(
            chains=draws.sizes["chain"],
            divergences=int(stats["diverging"].sum()),
            at_depth=0.0 if deep is None else float(deep.mean("draw").max()),
            r_hat=max(float(worst.max()) for worst in arviz_stats.rhat(some).values()),
            ess_bulk=min(float(worst.min()) for worst in bulk.values()),
            ess_tail=min(float(worst.min()) for worst in tail.values()),
            left_out="".join(f", one {dim} in {step} looked at" for dim, step in steps.items()),
        )

    def describe(self) -> dict[str, str]:
        """Return what a certificate says."""
        unknown = "unknown: it needs several chains and more than a few draws"
        ess = f"at least {self.ess_bulk:.0f} (bulk), {self.ess_tail:.0f} (tail)"
        r_hat = unknown if np.isnan(self.r_hat) else f"at most {self.r_hat:.3f}"
        return {
            "divergences": f"{self.divergences}",
            "r_hat": r_hat + self.left_out,
            "ess": ess + self.left_out,
        }

    def problems(self) -> list[str]:
        """Return what is wrong, a sentence for each; nothing if all is well."""
        problems = []
        if self.divergences:
            problems.append(
                f"{self.divergences} divergence{'s' if self.divergences > 1 else ''} after tuning"
            )
        if self.at_depth > MAX_AT_DEPTH:
            problems.append(f"{self.at_depth:.0%} of a chain's trees reached the maximal depth")
        if np.isnan(self.r_hat):
            problems.append(
                "r_hat cannot be computed: it needs several chains and more than a few draws"
            )
        elif self.r_hat > MAX_R_HAT:
            problems.append(f"r_hat is up to {self.r_hat:.4f}, and should be at most {MAX_R_HAT}")
        least = min(self.ess_bulk, self.ess_tail)
        if not least >= MIN_ESS * self.chains:
            problems.append(
                f"the smallest effective sample size is {least:.0f}, and should be at least "
                f"{MIN_ESS * self.chains} ({MIN_ESS} per chain)"
            )
        return problems


def _unknown(draws: xr.Dataset, spec: Spec) -> xr.Dataset:
    """Draws without sds that are fixed: all of a variable, or some of several."""
    for level in spec.levels:
        some = [name not in spec.fixed for name in level.sds]
        if level.has_slopes and any(some) and not all(some):
            dims = {level.dims[0]: f"{level.sd}_{level.dims[0]}"}
            own = draws[level.sd].rename(dims)
            draws = draws.assign({level.sd: own.isel(dict.fromkeys(dims.values(), some))})
        elif not any(some):
            draws = draws.drop_vars(level.sd)
    return draws.drop_vars([name for name in spec.fixed if name in draws])


def problem_of(convergence: Convergence, choice: Choice) -> str:
    """What is wrong with chains that did not mix, and what to do; empty if all is well."""
    problems = convergence.problems()
    if not problems:
        return ""
    remedies = ["raise target_accept (such as 0.99)"] if convergence.divergences else []
    if convergence.at_depth > MAX_AT_DEPTH:
        remedies.append("raise max_treedepth (10)")
    remedies.append("take more chains (4), tune or draws")
    if choice.forms and choice.can_be_marginal:
        remedies.append("use parameterization='marginal'")
    remedies.append("use engine='exact', whose draws are independent")
    return f"NUTS may not have converged: {'; '.join(problems)}. Remedies: {'; '.join(remedies)}."
