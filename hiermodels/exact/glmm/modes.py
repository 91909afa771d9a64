"""Modes of the coefficients at some values of the sds, and what lies between these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import PrecisionError
from hiermodels.exact.glmm.integrals import Expansion, expand, log_integrals
from hiermodels.exact.glmm.rows import CountRows

NEAR = 1e-12  # squared length of a step of Newton's method, in posterior sds, at a mode
ROUGHLY = 1e-2  # the same while the range of the sds is looked for
MAX_STEPS = 100
FARTHEST_STEP = 5.0  # of a linear predictor
ROUNDING = 1e-12  # of a log density, relative to its size
MAX_HALVINGS = 60

type Sds = float | Floats


@dataclass(frozen=True, eq=False)
class CountModel:
    """Rows, and normal or flat priors of the coefficients.

    Attributes
    ----------
    rows : CountRows
    mean : (p,)
    precision : (p, p)
        Of the priors; 0 along coefficients whose priors are flat.
    constant : float
        Log of the priors' normalising constants.
    """

    rows: CountRows
    mean: Floats
    precision: Floats
    constant: float = 0.0

    def log_prior(self, gamma: Floats) -> Floats:
        """Log prior density of coefficients (J, p), that of flat ones being 0; (J,)."""
        away = gamma - self.mean
        return self.constant - 0.5 * ((away @ self.precision) * away).sum(axis=1)

    def log_slope(self, gamma: Floats) -> Floats:
        """Its gradient at one point (p,)."""
        return self.precision @ (self.mean - gamma)

    @property
    def outermost(self) -> CountRows:
        """The rows in the groups that are independent given the sds and the coefficients."""
        return self.rows

    def expand(self, sds: Any, gamma: Floats, start: Floats | None) -> Expansion[Any]:
        """The likelihood and its derivatives: see :func:`integrals.expand`."""
        return expand(self.rows, sds, gamma, start)

    def log_integrals(self, gamma: Floats, sds: Floats, middles: Any) -> Floats:
        """Log integrals of all outermost groups at J settings; (G, J)."""
        return log_integrals(self.rows, self.rows.linear(gamma), sds, middles)

    def in_words(self, sds: Any) -> str:
        """Values of the sds."""
        return f"tau = {sds:.3g}"


@dataclass(frozen=True)
class Mode:
    """The highest point of the density of the coefficients at one value of the sds.

    Attributes
    ----------
    gamma : (p,)
    height : float
        Log density, that of the prior of the coefficients included.
    expansion : Expansion
    covariance : (p, p)
    """

    gamma: Floats
    height: float
    expansion: Expansion[Any]
    covariance: Floats

    @property
    def log_mass(self) -> float:
        """About the logarithm of the integral over γ, without the powers of 2π."""
        return self.height + 0.5 * float(np.linalg.slogdet(self.covariance)[1])


def find_mode(
    model: CountModel, sds: Sds, gamma: Floats, start: Floats | None, near: float = NEAR
) -> Mode:
    """Climb to the mode by Newton's method, with shorter steps where the density would fall.

    Parameters
    ----------
    sds : float, or (2,)
        τ; of nested groups κ and τ.
    gamma : (p,)
        Where to begin.
    start : (G, 1), optional
        Where to begin the search for the groups' modes.
    near : float
        Squared length of a step, in posterior sds, that ends the search.
    """
    here = _at(model, sds, gamma, start)
    for _ in range(MAX_STEPS):
        gradient = here.expansion.gradient + model.log_slope(here.gamma)
        step = here.covariance @ gradient
        gain = float(gradient @ step)
        if gain < near:
            return here
        step *= FARTHEST_STEP / max(FARTHEST_STEP, np.abs(model.rows.x @ step).max())
        for _ in range(MAX_HALVINGS):
            moved = here.expansion.middles.z + here.expansion.slope @ step[:, None]
            there = _at(model, sds, here.gamma + step, moved)
            if there.height > here.height - near - ROUNDING * abs(here.height):
                break
            step /= 2
        here = there
    raise PrecisionError(
        f"the mode of the coefficients at {model.in_words(sds)} was not found: the last step would "
        f"have been of {np.sqrt(gain):.1g} posterior sds. Center and scale the covariates, or use "
        f"engine='nuts'"
    )


def _at(model: CountModel, sds: Sds, gamma: Floats, start: Floats | None) -> Mode:
    own = model.expand(sds, gamma, start)
    height = own.value + float(model.log_prior(gamma[None])[0])
    information = own.information.sum(axis=0) + model.precision
    return Mode(gamma, height, own, np.linalg.inv(information))


def scale_of_variance(rows: CountRows, gamma: Floats) -> float:
    """About the variance of groups below which the likelihood hardly changes."""
    variance = rows.mean_and_variance(rows.linear(gamma[None])[:, 0], slice(None))[1]
    return float(1 / np.sqrt((rows.sums(variance) ** 2).sum()))


@dataclass(frozen=True, eq=False)
class Modes(ABC):
    """Modes at nodes, and their interpolants.

    The sds are τ (J,), or with nested groups κ and τ (J, 2).

    Attributes
    ----------
    model : CountModel
    modes : tuple of Mode
    """

    model: CountModel
    modes: tuple[Mode, ...]

    def __len__(self) -> int:
        return len(self.modes)

    @abstractmethod
    def weights(self, sds: Floats) -> Floats:
        """Weights of the modes at J values of the sds; (J, n)."""

    def factors(self, weights: Floats) -> Floats:
        """Factors U at values of the sds with these weights (J, n); (J, p, p).

        Rows of U are as long as the sds of γ, which may grow like τ: their logarithms are
        interpolated.
        """
        sd = np.exp(weights @ self.log_sd)
        return sd[..., None] * np.tensordot(weights, self.unit_rows, axes=1)

    def near_middles(self, gamma: Floats, weights: Floats) -> Any:
        """About where the integrands of the groups lie at coefficients (J, p).

        Returns
        -------
        Middles, or Windows
        """
        n, p = self.gamma.shape
        own = np.moveaxis(np.tensordot(weights, self._middles, axes=1), 1, 0)
        slopes = (weights @ self._slopes.reshape(n, -1)).reshape(len(gamma), -1, p)
        moved = gamma - weights @ self.gamma
        kind = type(self.modes[0].expansion.middles)
        return kind(*(part.T for part in own)).moved((slopes @ moved[..., None])[..., 0].T)

    @cached_property
    def gamma(self) -> Floats:
        """Modes; (n, p)."""
        return np.array([mode.gamma for mode in self.modes])

    @cached_property
    def height(self) -> Floats:
        """Log densities at the modes; (n,)."""
        return np.array([mode.height for mode in self.modes])

    @cached_property
    def factor(self) -> Floats:
        """Upper triangular factors U; (n, p, p)."""
        return np.array([_upper_factor(mode.covariance) for mode in self.modes])

    @cached_property
    def log_sd(self) -> Floats:
        """Logs of about the sds of γ given the sds; (n, p)."""
        return 0.5 * np.log((self.factor**2).sum(axis=2))

    @cached_property
    def unit_rows(self) -> Floats:
        """Rows of the factors, of length 1; (n, p, p)."""
        return self.factor / np.exp(self.log_sd)[..., None]

    @cached_property
    def information(self) -> Floats:
        """``U'K_gU``, the information of each outermost group on ``U⁻¹γ``; (n, G, p, p)."""
        of_nodes = zip(self.modes, self.factor, strict=True)
        return np.array([u.T @ mode.expansion.information @ u for mode, u in of_nodes])

    @cached_property
    def of_priors(self) -> Floats:
        """``U'PU``, the information of the priors on ``U⁻¹γ``; (n, p, p)."""
        return self.factor.swapaxes(1, 2) @ self.model.precision @ self.factor

    @cached_property
    def log_mass(self) -> Floats:
        """About the logarithms of the integrals over γ; (n,)."""
        return np.array([mode.log_mass for mode in self.modes])

    @cached_property
    def _middles(self) -> Floats:
        """Where the groups' integrands lie: a number or more of each; (n, m, G)."""
        every = [vars(mode.expansion.middles).values() for mode in self.modes]
        return np.array([[values[:, 0] for values in own] for own in every])

    @cached_property
    def _slopes(self) -> Floats:
        """Derivatives of the modes z by γ; (n, G, p)."""
        return np.array([mode.expansion.slope for mode in self.modes])


def _upper_factor(covariance: Floats) -> Floats:
    """The upper triangular U with ``U U'`` a given matrix."""
    return np.ascontiguousarray(np.linalg.cholesky(covariance[::-1, ::-1])[::-1, ::-1])
