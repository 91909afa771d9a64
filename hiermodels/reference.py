"""The posterior without Monte Carlo error: means, sds, quantiles, distribution functions.

Given the variances, every value is normal; so over the lattice of the variances each has a
finite mixture of normals for its posterior.  The sds themselves are integrated on the lattice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from hiermodels import gaussian, mixture
from hiermodels.data import GroupedData, Missing
from hiermodels.errors import ImproperPosteriorError, SpecError
from hiermodels.gaussian import Floats, Moments
from hiermodels.inputs import announce, prepare
from hiermodels.lattice import Lattice
from hiermodels.marginal import Marginal
from hiermodels.priors import Prior
from hiermodels.spec import Spec
from hiermodels.sufficient import standardize

SPACING = {1: 0.25, 2: 0.5, 3: 0.5}  # of the first lattice
TOLERANCE = 1e-9  # of means and sds of the unknown sds, in their posterior sds
FINER = 0.7  # the next spacing, where a lattice misses the tolerance
MOST_LATTICES = 6
NEGLIGIBLE = 1e-10  # share of the posterior that distribution functions of values leave out
NO_MOMENT = "nan: this moment does not exist (the posterior's tail is too heavy); use quantiles"


@dataclass(frozen=True)
class ReferencePosterior:
    """The noise-free posterior of one model and one data set.

    Attributes
    ----------
    data : GroupedData
    marginal : Marginal
        Posterior of the variances.
    lattice : Lattice
        On which it is integrated.
    """

    data: GroupedData
    marginal: Marginal
    lattice: Lattice

    @classmethod
    def of(cls, spec: Spec, data: GroupedData) -> ReferencePosterior:
        """Integrate the posterior, with ever finer lattices until two spacings agree.

        Raises
        ------
        ImproperPosteriorError
            If the posterior does not exist.
        """
        marginal = Marginal.of(spec, standardize(data))
        spacing = SPACING[len(marginal.names)]
        for _ in range(MOST_LATTICES):
            lattice = marginal.lattice(spacing)
            if sd_certificate(marginal, lattice) <= TOLERANCE:
                break
            spacing *= FINER
        return cls(data, marginal, lattice)

    @property
    def spec(self) -> Spec:
        """What is assumed."""
        return self.marginal.spec

    @cached_property
    def mean(self) -> xr.Dataset:
        """Posterior means; one that does not exist is nan, and its ``attrs`` say so."""
        standard = self.marginal.data
        moments = dict(zip(self.spec.values, self._moments.means, strict=True))
        found = {name: standard.location + standard.scale * m[0] for name, m in moments.items()}
        found["beta"] = standard.scale * standard.basis @ self._moments.beta[0]
        sds = _sd_moments(self.marginal, self.lattice)[0][0]
        return self._dataset(found | dict(zip(self.marginal.names, sds, strict=True)), order=1)

    @cached_property
    def sd(self) -> xr.Dataset:
        """Posterior sds; one that does not exist is nan, and its ``attrs`` say so."""
        standard = self.marginal.data
        moments = dict(zip(self.spec.values, self._moments.variances, strict=True))
        found = {name: standard.scale * np.sqrt(v[0]) for name, v in moments.items()}
        covariance = standard.basis @ self._moments.beta_covariance[0] @ standard.basis.T
        found["beta"] = standard.scale * np.sqrt(np.diag(covariance))
        sds = _sd_moments(self.marginal, self.lattice)[1][0]
        return self._dataset(found | dict(zip(self.marginal.names, sds, strict=True)), order=2)

    @cached_property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds.

        Over the means and sds of all unknown sds and of all values: see ``Lattice.half``.
        """
        moments = self._moments
        worst = sd_certificate(self.marginal, self.lattice)
        levels = zip(self.spec.values, moments.means, moments.variances, strict=True)
        betas = ("beta", moments.beta, np.diagonal(moments.beta_covariance, axis1=1, axis2=2))
        for name, mean, variance in [*levels, *([betas] if self.spec.covariates else [])]:
            sd = np.sqrt(variance)
            if self._moment_exists(name, 1):
                worst = max(worst, float((np.abs(mean[1] - mean[0]) / sd[0]).max()))
            if self._moment_exists(name, 2):
                worst = max(worst, float(np.abs(sd[1] / sd[0] - 1).max()))
        return worst

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
            raise ImproperPosteriorError(
                f"the marginal likelihood needs proper priors; those of {', '.join(improper)} are "
                f"not: {self.spec.describe_priors()[improper[0]]}. Give them with priors={{…}}"
            )
        return self.lattice.log_integral

    def quantile(self, q: ArrayLike, var_names: Sequence[str] | None = None) -> xr.Dataset:
        """Posterior quantiles, along a dimension ``quantile``.

        Parameters
        ----------
        q : array_like
            Probabilities strictly between 0 and 1.
        var_names : sequence of str, optional
            Which variables; all by default.
        """
        probabilities = np.atleast_1d(np.asarray(q, dtype=float))
        if not ((probabilities > 0) & (probabilities < 1)).all():
            raise SpecError(f"q: expected probabilities strictly between 0 and 1; found {q!r}")
        variables: dict[str, Any] = {}
        for name in self._names(var_names):
            if name in self.marginal.names:
                variables[name] = (("quantile",), self._sd_quantile(name, probabilities))
            else:
                values = self._value_quantile(name, probabilities)
                dims = self.spec.dims(name)
                variables[name] = (("quantile", *dims), values if dims else values[:, 0])
        return self._with_coords(variables, quantile=probabilities)

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
            Of the shape of ``values``.
        """
        (name,) = self._names([var_name])
        points = np.asarray(values, dtype=float)
        if name in self.marginal.names:
            axis = self.marginal.names.index(name)
            inside = np.maximum(points, np.finfo(float).tiny)
            x = self.marginal.coordinate(axis, inside.ravel())
            return np.where(points > 0, self.lattice.cdf(axis, x).reshape(points.shape), 0.0)
        units = points[..., None] if not self.spec.dims(name) else points
        weights, mean, sd = self._components(name)
        shape = np.broadcast_shapes(units.shape, (mean.shape[1],))
        result = mixture.cdf(weights, mean, sd, np.broadcast_to(units, shape))
        return result[..., 0] if not self.spec.dims(name) else result

    def summary(
        self, var_names: Sequence[str] | None = None, ci_prob: float = 0.89
    ) -> pd.DataFrame:
        """Means, sds and equal-tailed intervals, a row for each scalar.

        The columns are those of ``arviz_stats.summary`` without the ones that describe Monte
        Carlo error: there is none.

        Parameters
        ----------
        var_names : sequence of str, optional
            Which variables; all by default.
        ci_prob : float
            Probability of the equal-tailed interval.
        """
        tail = (1 - ci_prob) / 2
        names = self._names(var_names)
        ends = self.quantile([tail, 0.5, 1 - tail], names)
        label = f"eti{100 * ci_prob:.0f}"
        columns = {
            "mean": self.mean[names],
            "sd": self.sd[names],
            "median": ends.isel(quantile=1, drop=True),
            f"{label}_lb": ends.isel(quantile=0, drop=True),
            f"{label}_ub": ends.isel(quantile=2, drop=True),
        }
        return pd.DataFrame({column: flatten(values) for column, values in columns.items()})

    def __repr__(self) -> str:
        d = len(self.marginal.names)
        lines = [
            "ReferencePosterior (no Monte Carlo error)",
            *("  " + line for line in self.spec.describe()),
            f"  {self.data}",
            f"  quadrature: {len(self.lattice)} points in {d} dimension{'s' if d > 1 else ''}, "
            f"spacing {self.lattice.spacing:.3g} sd",
            f"  certificate: two spacings differ by {self.certificate:.1e} posterior sd",
        ]
        return "\n".join(lines)

    @cached_property
    def _moments(self) -> Moments:
        """Moments of the values over the whole lattice, and over half of it."""
        marginal = self.marginal
        return gaussian.mixture_moments(
            marginal.data.tree,
            marginal.variances(self.lattice.points),
            _both_weights(self.lattice),
            marginal.coefficients,
            marginal.data.origin,
        )

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats]:
        """The points that hold all but a negligible part of the posterior, and their weights."""
        order = np.argsort(-self.lattice.weights, kind="stable")
        enough = np.searchsorted(np.cumsum(self.lattice.weights[order]), 1 - NEGLIGIBLE) + 1
        kept = np.sort(order[:enough])
        return self.lattice.points[kept], self.lattice.weights[kept]

    def _components(self, name: str) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, u) of the mixtures of a value, in the outcome's unit."""
        standard, prior = self.marginal.data, self.marginal.coefficients
        points, weights = self._nodes
        variances = self.marginal.variances(points)
        up = gaussian.upward(standard.tree, variances, prior)
        if name == "beta":
            mean = standard.scale * up.beta @ standard.basis.T
            covariance = standard.basis @ up.beta_covariance @ standard.basis.T
            sd = standard.scale * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
            return weights / weights.sum(), mean, sd
        wanted = self.spec.values.index(name)
        parts = [
            values.moments(up, standard.origin)
            for level, _, values in gaussian.downward(standard.tree, variances, up, prior)
            if level == wanted
        ]
        mean = np.concatenate([mean for mean, _ in parts], axis=1)
        sd = np.sqrt(np.concatenate([variance for _, variance in parts], axis=1))
        return (
            weights / weights.sum(),
            standard.location + standard.scale * mean,
            standard.scale * sd,
        )

    def _value_quantile(self, name: str, probabilities: Floats) -> Floats:
        """Quantiles of a value; shape (len(probabilities), u)."""
        weights, mean, sd = self._components(name)
        return np.array([mixture.quantile(weights, mean, sd, p) for p in probabilities])

    def _sd_quantile(self, name: str, probabilities: Floats) -> Floats:
        """Quantiles of an sd, by bisection of its distribution function."""
        axis = self.marginal.names.index(name)
        x = self.lattice.points[:, axis]
        low = np.full(len(probabilities), x.min())
        high = np.full(len(probabilities), x.max())
        while (high - low > 1e-12 * (1 + np.abs(low))).any():
            middle = (low + high) / 2
            if ((middle == low) | (middle == high)).all():
                break
            below = self.lattice.cdf(axis, middle) < probabilities
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        points = np.zeros((len(low), len(self.marginal.names)))
        points[:, axis] = (low + high) / 2
        return self.marginal.sds(points)[:, axis]

    def _moment_exists(self, name: str, order: int) -> bool:
        """Whether a moment of a variable exists."""
        tails = self.marginal.tails
        if name in self.marginal.names:
            return tails.sd_moment_exists(name, order)
        if name == "beta":
            return tails.coefficient_moment_exists(order)
        level = self.spec.values.index(name)
        below = (*(() if self.spec.se else ("sigma",)), *self.spec.spreads[:level])
        return tails.value_moment_exists(below, name == self.spec.intercept, order)

    def _names(self, var_names: Sequence[str] | None) -> list[str]:
        """All variables, from the top downwards, or the ones that were asked for."""
        known = self.spec.variables
        unknown = [name for name in var_names or [] if name not in known]
        if unknown:
            raise SpecError(
                f"there is no variable {unknown[0]!r}; this model has {', '.join(known)}"
            )
        return list(var_names or known)

    def _dataset(self, found: Mapping[str, Any], order: int) -> xr.Dataset:
        """Put moments of all variables into a Dataset; those that do not exist as nan."""
        variables: dict[str, Any] = {}
        for name in self.spec.variables:
            dims = self.spec.dims(name)
            values = np.asarray(found[name], dtype=float)
            values = values if dims else values.reshape(())
            exists = self._moment_exists(name, order)
            note = {} if exists else {"note": NO_MOMENT}
            variables[name] = (dims, values if exists else np.full_like(values, np.nan), note)
        return self._with_coords(variables)

    def _with_coords(self, variables: dict[str, Any], **more: Any) -> xr.Dataset:
        dims = {dim for variable in variables.values() for dim in variable[0]}
        coords = {**self.data.coords, **more}
        return xr.Dataset(variables, {dim: coords[dim] for dim in coords if dim in dims})


def flatten(dataset: xr.Dataset) -> pd.Series:
    """One row for each scalar, named as ArviZ names them: ``tau``, ``theta[A]``."""
    rows: dict[str, float] = {}
    for name, variable in dataset.items():
        if variable.ndim == 0:
            rows[str(name)] = float(variable)
        else:
            labels = variable.coords[variable.dims[0]].values
            rows |= {
                f"{name}[{label}]": float(v)
                for label, v in zip(labels, variable.values, strict=True)
            }
    return pd.Series(rows)


def sd_certificate(marginal: Marginal, lattice: Lattice) -> float:
    """Largest difference between two spacings in the moments of the unknown sds.

    In posterior sds; the mass, and the moments of the coordinates x (which always exist), count
    as well.
    """
    whole, half = _both_weights(lattice)
    worst = float(abs(2 * lattice.weights[lattice.half].sum() - 1))
    means, sds = _moments_of(lattice.points, np.stack([whole, half]))
    worst = max(worst, float((np.abs(means[1] - means[0]) / sds[0]).max()))
    worst = max(worst, float(np.abs(sds[1] / sds[0] - 1).max()))
    means, sds = _sd_moments(marginal, lattice)
    for j, name in enumerate(marginal.names):
        if marginal.tails.sd_moment_exists(name, 2):
            worst = max(worst, float(abs(means[1, j] - means[0, j]) / sds[0, j]))
            worst = max(worst, float(abs(sds[1, j] / sds[0, j] - 1)))
    return worst


def _both_weights(lattice: Lattice) -> Floats:
    """Weights over the whole lattice and over half of it; shape (2, n)."""
    half = np.where(lattice.half, lattice.weights, 0.0)
    return np.stack([lattice.weights, half / half.sum()])


def _sd_moments(marginal: Marginal, lattice: Lattice) -> tuple[Floats, Floats]:
    """Means and sds of the unknown sds, over the whole lattice and half of it; (2, d) each."""
    return _moments_of(marginal.sds(lattice.points), _both_weights(lattice))


def _moments_of(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Means and sds of values (n, d) under weights (m, n), both (m, d)."""
    means = weights @ values
    variances = [w @ (values - mean) ** 2 for w, mean in zip(weights, means, strict=True)]
    return means, np.sqrt(variances)


def reference(
    data: Any,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | None = None,
    priors: Mapping[str, Prior] | None = None,
    missing: Missing = "error",
) -> ReferencePosterior:
    """Return the posterior without Monte Carlo error, straight from a data frame.

    Parameters
    ----------
    data, outcome, groups, se, priors, missing
        As in :func:`hiermodels.fit`.

    Examples
    --------
    >>> import hiermodels as hm
    >>> exact = hm.reference(hm.datasets.load_eight_schools(), priors={"tau": hm.HalfCauchy(5)})
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> round(float(exact.mean["tau"]), 6)
    3.633867
    """
    spec, grouped = prepare(
        data, outcome=outcome, groups=groups, se=se, priors=priors, missing=missing
    )
    announce(grouped)
    return ReferencePosterior.of(spec, grouped)
