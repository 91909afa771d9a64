"""From draws as arrays to a posterior: what the engines of this room have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from hiermodels.core.arrays import Floats
from hiermodels.core.seeds import Seed
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.effects import DrawsOnDemand, Effects, GroupEffects
from hiermodels.exact.glmm_effects import GlmmEffects
from hiermodels.exact.joint import lp
from hiermodels.exact.leaf_effects import LeafEffects
from hiermodels.model.spec import Spec
from hiermodels.posterior import memory
from hiermodels.posterior.arviz_groups import build_datatree, seed_attribute
from hiermodels.posterior.engine import Prepare, Refit, Request, Sample, refuse_option
from hiermodels.posterior.outcome_scale import with_outcome_scale
from hiermodels.posterior.record import Posterior, by_chain, how_to_draw

MANY_CROSSED = 1000  # groups of all columns, beyond which draws of their effects are not kept
REMEDY = (
    "Ask for fewer draws, raise memory_budget, or use reference(), which needs no draws: its "
    "means, sds and quantiles have no Monte Carlo error"
)


@dataclass(frozen=True)
class Drawn:
    """Draws of all variables, scalars (n,) and effects (u, n), and how they were made.

    Where the groups' effects are too many to be kept, ``effects`` draws them on demand.  Of each
    draw there may be more to tell, ``stats`` (n,).
    """

    variables: dict[str, Floats]
    attrs: dict[str, float]
    certificate: dict[str, str]
    effects: GroupEffects | None = None
    stats: Mapping[str, Floats] = field(default_factory=dict)


def with_effects(
    effects: Effects | LeafEffects | GlmmEffects,
    attrs: dict[str, float],
    certificate: dict[str, str],
    keep: bool,
    stats: Mapping[str, Floats] | None = None,
) -> Drawn:
    """With the effects of groups, where they are kept; else these are drawn on demand."""
    variables = effects.above_groups()
    if keep:
        variables["theta"] = effects.of_groups()
    return Drawn(variables, attrs, certificate, None if keep else effects, stats or {})


@dataclass(frozen=True)
class Job:
    """What an engine was asked for and of which model, and what its draws take.

    Attributes
    ----------
    engine : str
    spec, data, request
    started : float
        When, by the clock.
    """

    engine: str
    spec: Spec
    data: GroupedData
    request: Request
    started: float = field(default_factory=perf_counter)

    @property
    def size(self) -> int:
        """Number of draws in all chains."""
        return self.request.size

    @property
    def needs(self) -> memory.Needs:
        """What all draws take."""
        return memory.of_variables(self.spec, self.data, self.size)

    @property
    def above(self) -> memory.Needs:
        """The same of what stands above the groups."""
        spec = self.spec
        of_groups = (*spec.effects[: None if spec.is_crossed else 1], *spec.on_outcome_scale)
        return {name: size for name, size in self.needs.items() if name not in of_groups}

    @property
    def keep(self) -> bool:
        """Whether draws of the groups' effects are kept."""
        keep = not self.spec.groups or memory.fits(self.needs, self.request.memory_budget)
        return keep and not (self.spec.is_crossed and sum(self.data.sizes) > MANY_CROSSED)

    def require_possible(self, options: Mapping[str, Any]) -> None:
        """Raise SpecError if an option is given, or draws above the groups exceed the budget."""
        for name in options:
            refuse_option(self.engine, name)
        memory.require(self.above, self.size, self.request.memory_budget, REMEDY)

    def posterior(self, drawn: Drawn) -> Posterior:
        """Lay the draws out as ArviZ expects them."""
        spec, data, chains = self.spec, self.data, self.request.chains
        variables = {name: by_chain(values, chains) for name, values in drawn.variables.items()}
        variables = with_outcome_scale(spec, data, variables)
        stats = {name: by_chain(values, chains) for name, values in drawn.stats.items()}
        attrs = {
            "engine": self.engine,
            "sampling_time": perf_counter() - self.started,
            **drawn.attrs,
            **seed_attribute(self.request.random_seed),
        }
        stats |= lp(spec, data, variables)
        datatree = build_datatree(spec, data, variables, stats, attrs)
        on_demand = None if drawn.effects is None else DrawsOnDemand(drawn.effects, chains)
        certificate = {**drawn.certificate, **self._said_of_memory()}
        return Posterior(spec, data, self.engine, datatree, certificate, on_demand)

    def _said_of_memory(self) -> dict[str, str]:
        """What draws take, where it is much, and which are not kept."""
        kept = self.needs if self.keep else self.above
        said = {}
        if not memory.fits(kept, memory.WORTH_TELLING):
            said["memory"] = f"draws that are kept take {memory.describe(kept)}"
        if self.keep:
            return said
        name = self.spec.effects[0]
        said[name] = (
            f"not kept: {self.data.n_groups:,} groups × {self.size:,} draws need "
            f"{memory.gibibytes(self.needs[name])}; draw some with .draws(groups=[…]). So is lp, "
            f"the joint log density, which takes all of them"
        )
        return said | (_not_kept(self.spec, self.data) if self.spec.is_crossed else {})


def _not_kept(spec: Spec, data: GroupedData) -> dict[str, str]:
    """What is said of effects of crossed groups that are not kept."""
    groups = " and ".join(f"{len(data.coords[own.column]):,} {own.column}" for own in spec.levels)
    why = f"not kept: with {groups} each draw needs a matrix of its own"
    return {name: f"{why}; draw some with {how_to_draw(spec, name)}" for name in spec.effects}


def refits_by(sample: Sample) -> Prepare:
    """Make ``prepare_refits`` of an engine that has nothing to prepare for other outcomes.

    Parameters
    ----------
    sample : Sample
        Of the engine.
    """

    def prepare_refits(
        spec: Spec,
        data: GroupedData,
        *,
        draws: int,
        chains: int,
        memory_budget: float = memory.MEMORY_BUDGET,
        **options: Any,
    ) -> Refit:
        request = Request(draws=draws, chains=chains, memory_budget=memory_budget)

        def refit(data: GroupedData, random_seed: Seed) -> Posterior:
            return sample(spec, data, replace(request, random_seed=random_seed), **options)

        return refit

    return prepare_refits
