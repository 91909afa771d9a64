"""What a posterior without Monte Carlo error offers, however it is computed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats
from hiermodels.core.options import count, probabilities, real_numbers, variables_among
from hiermodels.data.covariates import AUTO, At, Place, locate
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import ImproperPosteriorError, SpecError
from hiermodels.model.spec import Spec
from hiermodels.posterior.coordinates import coords_of
from hiermodels.posterior.group_questions import GroupQuestions
from hiermodels.posterior.moments import (
    KINDS,
    MEAN,
    SD,
    ExistingMoments,
    Lack,
    Moment,
    of_new_member,
    of_variables,
    worst_of,
)
from hiermodels.posterior.precision import TOLERANCE, reached
from hiermodels.posterior.tables import (
    CI_PROB,
    Summary,
    flatten,
    interval_label,
    interval_note,
    tails,
    with_header,
)
from hiermodels.posterior.target import Target

NO_ERROR = "no Monte Carlo error"
MAX_KEPT = 64  # quantiles of a variable, at some probabilities, that are kept


class ReferencePosterior(GroupQuestions):
    """The noise-free posterior of one model and one data set.

    Attributes
    ----------
    spec : Spec
        What is assumed.
    data : GroupedData
        What was observed.
    place : Place or None
        Values of the covariates that :meth:`at` was given; without it, the effects of all levels
        belong to x = 0.
    """

    spec: Spec
    data: GroupedData
    place: Place | None = None

    @cached_property
    def mean(self) -> xr.Dataset:
        """Posterior means; one that does not exist is nan, and its ``attrs`` say so."""
        return self._dataset(self._means(), MEAN)

    @cached_property
    def sd(self) -> xr.Dataset:
        """Posterior sds; one that does not exist is nan, and its ``attrs`` say so."""
        return self._dataset(self._sds(), SD)

    @property
    def error_in_words(self) -> str:
        """What tables say of the error of their numbers, beside how many digits are right."""
        return NO_ERROR

    @property
    @abstractmethod
    def certificate(self) -> float:
        """Bound on the error of means and sds, in posterior sds."""

    @cached_property
    def digits(self) -> int | None:
        """Digits of the posterior sd that the quadrature reached, where these are fewer than 8.

        Tables show no more than so many significant digits.

        Raises
        ------
        PrecisionError
            If they are fewer than 3: then there is nothing to show.
        """
        return None if self.certificate <= TOLERANCE else reached(self.certificate)

    @property
    def precision(self) -> list[str]:
        """What tables say of a quadrature that missed its precision; else nothing."""
        if self.digits is None:
            return []
        return [f"{self.digits} digits: off by {self.certificate:.0e} posterior sd at the most"]

    @property
    @abstractmethod
    def moments(self) -> ExistingMoments:
        """Which moments exist."""

    @checked
    def moment_exists(self, name: str, order: int) -> bool:
        """Whether a variable has a posterior moment of this order."""
        (name,) = self._names([name])
        count("order", order)
        return self.moments.exist([name], order)

    @property
    def log_marginal_likelihood(self) -> float:
        """``log p(y)``, where every prior is proper.

        Raises
        ------
        ImproperPosteriorError
            If a prior is improper: then ``p(y)`` is defined up to a constant only.
        """
        improper = [name for name, prior in self.spec.priors.items() if not prior.is_proper]
        if improper:
            priors = self.spec.describe_priors()
            raise ImproperPosteriorError(
                f"the marginal likelihood needs proper priors; these are not: "
                f"{'; '.join(f'{name} ~ {priors[name]}' for name in improper)}. Give proper ones "
                f"with priors={{…}}"
            )
        return self._log_evidence()

    @checked
    def quantile(self, q: ArrayLike, var_names: Sequence[str] | str | None = None) -> xr.Dataset:
        """Posterior quantiles, along a dimension ``quantile``.

        Parameters
        ----------
        q : array_like
            Probabilities strictly between 0 and 1.
        var_names : str or sequence of str, optional
            Which variables; all by default.
        """
        points = probabilities("q", q)
        variables: dict[str, Any] = {}
        for name in self._names(var_names):
            dims = ("quantile", *self.spec.dims(name))
            variables[name] = (dims, self._kept_quantiles(name, points))
        return self._with_coords(variables, quantile=points)

    def _kept_quantiles(self, name: str, points: Floats) -> Floats:
        """Quantiles of a variable, a copy of those that were computed before if there are any.

        Tables, pictures and comparisons of one posterior ask for the same ones again and again.
        """
        known, key = self._quantiles_so_far, (name, points.tobytes())
        if key not in known:
            while len(known) >= MAX_KEPT:
                del known[next(iter(known))]
            known[key] = self._quantiles(name, points)
        return known[key].copy()

    @cached_property
    def _quantiles_so_far(self) -> dict[tuple[str, bytes], Floats]:
        """Quantiles by the variable and the probabilities, the latest last."""
        return {}

    @checked
    def cdf(self, var_name: str, values: ArrayLike) -> Floats:
        """Posterior distribution function of a variable.

        Parameters
        ----------
        var_name : str
        values : array_like
            Where: of any shape for a scalar; for a variable with groups the last axis runs over
            them (or has length 1).

        Returns
        -------
        array
            Of the shape of ``values``, its last axis as long as there are groups.
        """
        (name,) = self._names([var_name])
        points = self._points(name, values)
        cdf = self._cdf(name, points).clip(0.0, 1.0)  # sums swing around 1 in the last digits
        return np.where(points == np.inf, 1.0, cdf)

    @checked
    def density(self, var_name: str, values: ArrayLike) -> Floats:
        """Posterior density of a variable; arguments and shapes as for :meth:`cdf`."""
        (name,) = self._names([var_name])
        return self._density(name, self._points(name, values))

    @checked
    def at(self, at: At) -> ReferencePosterior:
        """Return the same posterior with the effects of all levels at other covariates.

        A group's effect is an intercept, at x = 0.  Of what this returns, ``theta``, ``mu`` and
        ``lam`` are ``theta + x'beta`` and so on; all else is as it was.

        Parameters
        ----------
        at : {"auto", "means", "own", "zero"} or mapping of str to value
            As in :meth:`hiermodels.Fit.summary`.

        Examples
        --------
        >>> import hiermodels as hm
        >>> effects = hm.datasets.load_school_calendar()
        >>> exact = hm.reference(effects, "y ~ year + (1 | district/school)", se="se")
        >>> exact.at({"year": 1990}).mean["lam"].round(3).item()
        0.18
        """
        place = locate(self.data, at)
        return self._at(place) if place.words else self

    @checked
    def summary(
        self,
        var_names: Sequence[str] | str | None = None,
        ci_prob: float = CI_PROB,
        at: At | None = None,
    ) -> Summary:
        """Means, sds and equal-tailed intervals, a row for each scalar, below the model.

        The columns are those of ``arviz_stats.summary`` without the ones that describe Monte
        Carlo error: there is none.

        Parameters
        ----------
        var_names : str or sequence of str, optional
            Which variables; all by default.
        ci_prob : float
            Probability of the equal-tailed interval.
        at : {"auto", "means", "own", "zero"} or mapping of str to value, optional
            Values of the covariates that effects and the intercept are shown at, as in
            :meth:`hiermodels.Fit.summary`; the header names them.  By default those of
            :meth:`at`, if that was called, or those of ``"auto"``.

        Examples
        --------
        >>> import hiermodels as hm
        >>> exact = hm.reference(hm.datasets.load_eight_schools(), priors={"tau": hm.FlatSD()})
        outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
        >>> exact.summary(["mu", "tau"], ci_prob=0.9)
        y ~ Normal(theta[school], sigma) with known sigma
        theta[school] ~ Normal(mu, tau)
          mu ~ Flat()
          tau ~ FlatSD(), on the sd tau
        no Monte Carlo error
        intervals: 90 % equal-tailed
              mean     sd  median  eti90_lb  eti90_ub
        mu  7.9324 5.1784 7.8917 -0.28169   16.279
        tau 6.5755 5.6504 5.2385  0.48562   17.176
        """
        low, high = tails(ci_prob)
        names = self._names(var_names)
        place = self.place if at is None else None
        place = place or locate(self.data, AUTO if at is None else at)
        shown = self._at(place) if place.words else self
        ends = shown.quantile([low, 0.5, high], names)
        label = interval_label(ci_prob)
        columns = {
            "mean": shown.mean[names],
            "sd": shown.sd[names],
            "median": ends.isel(quantile=1, drop=True),
            f"{label}_lb": ends.isel(quantile=0, drop=True),
            f"{label}_ub": ends.isel(quantile=2, drop=True),
        }
        table = pd.DataFrame({column: flatten(values) for column, values in columns.items()})
        lacking = self.moments.why(of_variables(names))
        effects = [name for name in names if name in self.spec.locations]
        notes = [self.error_in_words, interval_note(ci_prob), *place.note(effects)]
        notes += [*shown.precision, *([lacking] if lacking else [])]
        return with_header(table, self.spec, *notes, digits=shown.digits)

    @property
    def n_points(self) -> int:
        """Number of points at which the posterior is summed up; 1 in closed form."""
        return 1

    @abstractmethod
    def predictive_moments(self, target: Target) -> tuple[Floats, Floats]:
        """Means and sds of predicted values, whether they exist or not; both (r,)."""

    def predictive_lacks(self, target: Target, order: int) -> list[Lack | None]:
        """What a moment of each predicted value lacks, of the group's and of all noise below it.

        None where it exists.
        """
        names = of_new_member(self.spec, target.level, target.outcome)
        worst = worst_of(self.moments.shortage(name, order) for name in names)
        return [worst] * len(target.members)

    def predictive_moment_exists(self, target: Target, order: int) -> bool:
        """Whether a moment of every predicted value exists: see :meth:`predictive_lacks`."""
        return all(lack is None for lack in self.predictive_lacks(target, order))

    @abstractmethod
    def predictive_cdf(self, target: Target, values: Floats) -> Floats:
        """Distribution functions of predicted values at values (..., r)."""

    @abstractmethod
    def predictive_quantiles(self, target: Target, probabilities: Floats) -> Floats:
        """Quantiles of predicted values; shape (p, r)."""

    def predictive_probability(self, target: Target, values: Floats) -> Floats:
        """Probabilities of counts (..., r), which need not be whole numbers.

        Raises
        ------
        SpecError
            If outcomes are no counts.
        """
        raise SpecError(
            f"{self.spec.outcome}: only counts have probabilities, and this outcome is none; see "
            f".cdf and .quantile"
        )

    def __repr__(self) -> str:
        lines = [*self.spec.describe(), str(self.data), *self.how()]
        return "\n  ".join([f"{type(self).__name__} ({self.error_in_words})", *lines])

    def _at(self, place: Place) -> ReferencePosterior:
        """The same with values at other covariates, where there are any."""
        return self

    @abstractmethod
    def _means(self) -> Mapping[str, Any]:
        """Posterior means by variable, whether they exist or not."""

    @abstractmethod
    def _sds(self) -> Mapping[str, Any]:
        """Posterior sds by variable, whether they exist or not."""

    @abstractmethod
    def _log_evidence(self) -> float:
        """``log p(y)`` under proper priors."""

    @abstractmethod
    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        """Quantiles of a variable; (p,) for a scalar or (p, u)."""

    @abstractmethod
    def _cdf(self, name: str, values: Floats) -> Floats:
        """Distribution function of a variable."""

    @abstractmethod
    def _density(self, name: str, values: Floats) -> Floats:
        """Density of a variable."""

    @abstractmethod
    def how(self) -> list[str]:
        """How it was computed, for people to read."""

    def _points(self, name: str, values: ArrayLike) -> Floats:
        """Numbers at which to evaluate a variable; their last axes run over its members."""
        points, coords = real_numbers("values", values), coords_of(self.spec, self.data)
        for axis, dim in enumerate(reversed(self.spec.dims(name)), start=1):
            members = len(coords[dim])
            if points.ndim >= axis and points.shape[-axis] not in (1, members):
                where = "the last axis" if axis == 1 else f"axis {-axis}"
                raise SpecError(
                    f"values: expected 1 or {members} along {where}, which runs over {dim}; found "
                    f"{points.shape[-axis]}"
                )
        return points

    def _names(self, var_names: Sequence[str] | str | None) -> list[str]:
        """All variables, from the top downwards, or the ones that were asked for."""
        return variables_among(self.spec.variables, var_names, "this model has")

    def _dataset(self, moments: Mapping[str, Any], order: int) -> xr.Dataset:
        """Put moments of all variables into a Dataset; those that do not exist as nan."""
        variables: dict[str, Any] = {}
        for name in self.spec.variables:
            dims = self.spec.dims(name)
            values = np.asarray(moments[name], dtype=float)
            values = values if dims else values.reshape(())
            lacking = self.moments.why([Moment(KINDS[order], name, order, (name,))])
            note = {"note": lacking} if lacking else {}
            variables[name] = (dims, np.full_like(values, np.nan) if lacking else values, note)
        return self._with_coords(variables)

    def _with_coords(self, variables: dict[str, Any], **more: Any) -> xr.Dataset:
        dims = {dim for variable in variables.values() for dim in variable[0]}
        coords = {**coords_of(self.spec, self.data), **more}
        return xr.Dataset(variables, {dim: coords[dim] for dim in coords if dim in dims})
