"""Binomial rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.checks import OUTCOME, Invalid, is_whole, where_any, whole
from hiermodels.families.family import Columns
from hiermodels.families.leaves import Leaves
from hiermodels.families.links import LogitLink
from hiermodels.families.row_leaves import by_group, log_density, log_given_total


@storable
@dataclass(frozen=True)
class Binomial(LogitLink):
    """``y ~ Binomial(trials, 1/(1 + e^{−η}))``: successes among trials; rows of 0 and 1 have one.

    A row without trials says nothing, and is an ordinary case.
    """

    name: ClassVar[str] = "binomial"
    columns: ClassVar[tuple[str, ...]] = ("trials",)
    defaults: ClassVar[Mapping[str, float]] = MappingProxyType({"trials": 1.0})
    additive: ClassVar[tuple[str, ...]] = ("trials",)
    effect: ClassVar[str | None] = "p"
    is_discrete: ClassVar[bool] = True
    raw_word: ClassVar[str] = "proportion"

    def invalid(self, y: Floats, columns: Columns) -> Iterator[Invalid]:
        """Counts that are not whole, are negative, or exceed the row's trials."""
        trials = columns["trials"]
        within = Invalid(
            OUTCOME,
            ~is_whole(y) | (y > trials),
            "a whole number from 0 to the number of trials of its row",
        )
        return where_any(whole("trials", trials), within)

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """``Binomial(trials, logistic(η))``, or ``Bernoulli(logistic(η))`` of rows of 0 and 1."""
        p = f"logistic({eta})"
        return f"Binomial({columns['trials']}, {p})" if "trials" in columns else f"Bernoulli({p})"

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``log C(n, y) + y η − n log(1 + e^η)`` of each row."""
        return log_density(BinomialLeaves.of(y, columns["trials"]), eta)

    def moments(self, eta: Floats, columns: Columns) -> tuple[Floats, Floats]:
        """``np`` and ``np(1 − p)``."""
        mean = columns["trials"] * self.inverse_link(eta)
        return mean, mean * self.inverse_link(-eta)

    def cdf(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``I_{1−p}(n − y, y + 1)``, a beta distribution function."""
        from scipy.special import betainc

        trials, y = columns["trials"], np.floor(y)
        inside = (y >= 0) & (y < trials)
        failures, more = np.where(inside, trials - y, 1.0), np.where(inside, y + 1, 1.0)
        below = betainc(failures, more, self.inverse_link(-eta))
        return np.where(inside, below, np.where(y < 0, 0.0, 1.0))

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw counts, of the shape of η."""
        trials = np.broadcast_to(columns["trials"], eta.shape).astype(np.int64)
        return rng.binomial(trials, self.inverse_link(eta)).astype(float)

    def raw(self, y: Floats, columns: Columns, offset: Floats) -> tuple[Floats, Floats]:
        """Successes and trials; an offset is left aside."""
        return y, np.broadcast_to(columns["trials"], offset.shape)

    def support(self, columns: Columns) -> tuple[Floats, Floats]:
        """From 0 to the number of trials."""
        return np.zeros_like(columns["trials"]), columns["trials"]

    def leaves(
        self, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> Leaves:
        """Likelihoods of groups: counts of rows of a group with one offset add up."""
        return summed(BinomialLeaves.of(y, columns["trials"], offset), group, size)

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Any, dims: str
    ) -> Any:
        """Add the rows to the open PyMC model."""
        counts = observed.astype("int64")
        return pm.Binomial(name, n=columns["trials"], logit_p=eta, observed=counts, dims=dims)


def summed(rows: BinomialLeaves, group: Indices, size: int) -> Leaves:
    """Leaves of groups as :func:`by_group` makes them, where rows with one shift add up to one."""
    pairs, index = np.unique(np.stack([group, rows.shift], axis=1), axis=0, return_inverse=True)
    index = index.ravel()
    successes, failures = (
        np.bincount(index, weights=counts, minlength=len(pairs))
        for counts in (rows.successes, rows.failures)
    )
    total = BinomialLeaves(successes, failures, pairs[:, 1], np.zeros(len(pairs)))
    total = replace(total, log_given_sum=log_given_total(rows, total, index))
    return by_group(total, pairs[:, 0].astype(np.intp), size)
