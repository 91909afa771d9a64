"""Which moments of a posterior exist, and in plain words why one does not."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hiermodels.core.names import ROOT
from hiermodels.model.spec import Spec

MEAN, SD, FOURTH = 1, 2, 4  # orders of the moments that a mean, an sd and the error of an sd need
KINDS = {MEAN: "a mean of", SD: "an sd of"}
NO_MOMENT = "nan: this moment does not exist"


@dataclass(frozen=True)
class Shortage:
    """Of what there is too little for a moment."""

    size: int  # how many there are
    what: str  # such as "'batch' groups"
    needed: int  # by the moment, under the same priors

    @property
    def reason(self) -> str:
        """What stands in the way of the moment."""
        return f"{self.size:,} {self.what} {'is' if self.size == 1 else 'are'} too few"

    @property
    def gap(self) -> float:
        """How far the moment is from existing."""
        return self.needed - self.size


@dataclass(frozen=True)
class SlowFall:
    """A prior that falls too slowly for a moment, however much there is of the data."""

    reason: str  # such as "HalfCauchy(beta=1) on tau falls too slowly"
    needed: str  # in its place

    @property
    def gap(self) -> float:
        """No data close it."""
        return math.inf


type Lack = Shortage | SlowFall


@dataclass(frozen=True)
class Moment:
    """A moment that a table shows."""

    kind: str  # such as "a mean of"
    label: str  # of what, such as "tau"
    order: int  # of the moment that it needs,
    names: tuple[str, ...]  # of each of these variables, of which it is made up


class ExistingMoments(ABC):
    """Which moments of a posterior's variables exist."""

    @abstractmethod
    def shortage(self, name: str, order: int) -> Lack | None:
        """What a variable's moment of this order lacks; None if it exists."""

    def exist(self, names: Iterable[str], order: int) -> bool:
        """Whether each of some variables has a moment of this order, and so has their sum."""
        return all(self.shortage(name, order) is None for name in names)

    def why(self, shown: Iterable[Moment]) -> str | None:
        """One line that says why some of the moments that are shown are nan; None if none is."""
        return no_moment(self.counts(shown))

    def counts(self, shown: Iterable[Moment]) -> str | None:
        """What there is too little of for some moments, and how much it would take."""
        return counted(self._lacking(shown))

    def _lacking(self, shown: Iterable[Moment]) -> Iterator[tuple[Moment, Lack]]:
        for moment in shown:
            lacks = [self.shortage(name, moment.order) for name in moment.names]
            worst = worst_of(lacks)
            if worst:
                yield moment, worst


def worst_of(lacks: Iterable[Lack | None]) -> Lack | None:
    """The one that is farthest from being met; None if there is none."""
    return max((lack for lack in lacks if lack), key=lambda lack: lack.gap, default=None)


def counted(lacking: Iterable[tuple[Moment, Lack]]) -> str | None:
    """What moments lack, and how much it would take, in words; None if none lacks anything."""
    shortages: dict[str, dict[tuple[str, int | str], list[str]]] = {}
    for moment, lack in lacking:
        needs = shortages.setdefault(lack.reason, {})
        labels = needs.setdefault((moment.kind, lack.needed), [])
        labels.extend([moment.label] if moment.label not in labels else [])
    sentences = []
    for reason, needs in shortages.items():
        texts = [f"{kind} {', '.join(of)} (needs {n})" for (kind, n), of in needs.items()]
        sentences.append(f"{reason} for {', '.join(texts)}")
    return "; ".join(sentences) or None


def no_moment(counts: str | None) -> str | None:
    """A line that says why some moments are nan, given what they lack; None if none is."""
    return f"{NO_MOMENT}; under these priors {counts}. Medians exist" if counts else None


@dataclass(frozen=True)
class PopulationMoments(ExistingMoments):
    """The moments of a model without groups: those of σ and of Student-t distributions.

    ``E σ^m`` and ``E θ^m`` need ``2α + n − f > m``, with the α of the prior, or 0, n rows and f
    flat coefficients.  Where the standard errors are known, all exist.

    Attributes
    ----------
    rows : int
    before : float
        What there is without rows: the prior's ``2α − f``.
    """

    rows: int
    before: float

    @classmethod
    def of(cls, spec: Spec, rows: int) -> PopulationMoments:
        """Those of a model without groups, with this number of rows."""
        if spec.se:
            return cls(rows, math.inf)
        prior = spec.residual_prior
        flat = sum(spec.scaled_prior(name) is None for name in spec.means)
        return cls(rows, (2 * prior.alpha if prior else 0.0) - flat)

    def shortage(self, name: str, order: int) -> Shortage | None:
        """What a moment of this order lacks, whichever variable's."""
        if self.before + self.rows > order:
            return None
        return Shortage(self.rows, "rows", int(order - self.before) + 1)


def of_variables(names: Iterable[str], orders: Iterable[int] = KINDS) -> Iterator[Moment]:
    """Yield means and sds of variables, as most tables show them."""
    names = list(names)
    for order in orders:
        for name in names:
            yield Moment(KINDS[order], name, order, (name,))


def of_new_member(spec: Spec, level: int, outcome: bool) -> tuple[str, ...]:
    """Variables that make up the effect of a new group below a group of a level, or a row of it.

    Parameters
    ----------
    spec : Spec
    level : int
        Of the innermost known group; or ``ROOT``.
    outcome : bool
        Whether the noise of a row is part of it.
    """
    rows = ("sigma",) if outcome and spec.has_sigma else ()
    known = spec.top if level == ROOT else (spec.levels[level].effect,)
    return (*known, *(new.sd for new in reversed(spec.levels[level + 1 :])), *rows)
