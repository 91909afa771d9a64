"""What moves under another flat prior of one sd: two posteriors, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.names import ROOT
from hiermodels.exact.prior_move import ONE_SD, Move, moved, notable
from hiermodels.posterior.moments import SD
from hiermodels.posterior.reference_posterior import ReferencePosterior


def prior_moves(old: ReferencePosterior, new: ReferencePosterior, name: str) -> Iterator[Move]:
    """What moves notably between two posteriors: of each kind of quantities what moves most.

    Parameters
    ----------
    old, new : ReferencePosterior
        Under the default prior of an sd and under the other flat one, with effects at the
        covariates' means.
    name : str
        The sd.
    """
    look = _Look(old, new, name)
    yield from notable((look.sds(), look.effects(), look.new_members()))


@dataclass(frozen=True)
class _Look:
    """The posterior under both flat priors of one sd."""

    old: ReferencePosterior
    new: ReferencePosterior
    name: str

    def sds(self) -> Iterator[Move]:
        """Yield the moves of the sds' means, or of the median of the one whose prior is another."""
        spec = self.old.spec
        names = [*(level.sd for level in spec.levels), *(["sigma"] if spec.has_sigma else [])]
        for name in (name for name in names if self._exists(name)):
            means, spreads = self._means(name).reshape(2, -1), self._spread(name).ravel()
            for k in np.flatnonzero(spreads > 0).tolist():
                what = f"posterior mean of {name}{self._stratum(k) if len(spreads) > 1 else ''}"
                yield moved(what, means[:, k], float(spreads[k]))
        if not self._exists(self.name):
            low, before, high = self._quantiles(self.old)
            after = self._quantiles(self.new)[1]
            what = f"posterior median of {self.name}"
            yield moved(what, np.array([before, after]), (high - low) / 2)

    def effects(self) -> Iterator[Move]:
        """Yield the moves of the means of groups' effects, of the intercept and of coefficients."""
        spec = self.old.spec
        for name in (name for name in (*spec.effects, *spec.top) if self._exists(name)):
            means, spread = self._means(name), self._spread(name)
            worst = int((np.abs(means[1] - means[0]) / spread).argmax())
            both = means.reshape(2, -1)[:, worst]
            where = self._where if name in spec.locations else ""
            what = f"posterior mean of {name}{self._label(name, worst)}{where}"
            yield moved(what, both, spread.ravel()[worst])
        if spec.covariates and self._exists("beta"):
            means, spreads = self._means("beta").T, self._spread("beta")
            for name, both, spread in zip(spec.coefficients, means, spreads, strict=True):
                yield moved(f"posterior mean of {name}", both, spread)

    def new_members(self) -> Iterator[Move]:
        """Yield by how much the sd of a new group's effect changes, at each level."""
        spec = self.old.spec
        above = () if spec.is_crossed else spec.levels[:-1]
        parents = (spec.intercept, *(level.effect for level in above))
        parents += (spec.intercept,) * (len(spec.levels) - len(parents))
        for level, parent in reversed(list(zip(spec.levels, parents, strict=True))):
            if all(self._exists(variable) for variable in (parent, level.sd) if variable):
                sds = np.sqrt(self._squares(level.sd)[:, None] + self._variances(parent))
                worst = int(np.abs(sds[1] / sds[0] - 1).argmax())
                what = f"sd of a new {level.column}{self._where}"
                yield moved(what, sds[:, worst], sds[0, worst])

    @property
    def _both(self) -> tuple[ReferencePosterior, ReferencePosterior]:
        return self.old, self.new

    def _exists(self, name: str) -> bool:
        return self.old.moments.exist([name], SD)

    def _means(self, name: str) -> Floats:
        """Means of a variable, and under the other prior; (2, ...)."""
        return np.array([which.mean[name].to_numpy() for which in self._both])

    def _spread(self, name: str) -> Floats:
        return self.old.sd[name].to_numpy()

    def _variances(self, name: str | None) -> Floats:
        """Variances of effects, or of the intercept, which may be known to be 0; (2, u)."""
        if name is None:
            return np.zeros((2, 1))
        return np.array([which.sd[name].to_numpy().ravel() for which in self._both]) ** 2

    def _squares(self, sd: str) -> Floats:
        """Means of the square of an sd; (2,)."""
        return np.array([float(w.mean[sd]) ** 2 + float(w.sd[sd]) ** 2 for w in self._both])

    @property
    def _where(self) -> str:
        """Where effects are looked at; nothing without covariates."""
        return " at the covariates' means" if self.old.spec.covariates else ""

    def _stratum(self, place: int) -> str:
        """Which residual sd it is, in brackets."""
        return f"[{self.old.spec.strata[place]}]"

    def _label(self, name: str, place: int) -> str:
        """How a group is called, in brackets; nothing for the intercept."""
        level = self.old.spec.level_of(name)
        return "" if level == ROOT else f"[{self.old.data.levels[level].labels[place]}]"

    def _quantiles(self, posterior: ReferencePosterior) -> Floats:
        """Median of the sd, between the ends of its central 68 % interval."""
        return posterior.quantile(ONE_SD, [self.name])[self.name].to_numpy()
