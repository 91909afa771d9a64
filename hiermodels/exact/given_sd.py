"""Values given one sd, the other sds integrated out."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.block_given_sd import block_moments_given_sd
from hiermodels.exact.crossed_given_sd import crossed_moments_given_sd
from hiermodels.exact.leaf_given_sd import leaf_moments_given_sd
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.model.spec import Spec
from hiermodels.numerics import lattice
from hiermodels.numerics.lattice import Lattice, ModesAndScale

FINE = {1: 0.1, 2: 0.1, 3: 0.15}  # spacing along the axis of the sd
COARSE = 0.5  # spacing across it
ENDS = (1e-3, 0.99)  # quantiles of the sd between which the values are computed
WIDE, BEYOND = 0.75, 1e-3  # spacing of a first lattice, and how far into the tails it is followed


@one_blas_thread()
def moments_given_sd(
    spec: Spec,
    data: GroupedData,
    sd: str,
    effect: str,
    place: Place | None = None,
    term: str | None = None,
) -> xr.Dataset:
    """Conditional means and sds of a level's effects given one sd, over the posterior of that sd.

    The lattice is laid with the sd's coordinate first.  As its steps are triangular, all points
    with the same first index have the same value of the sd: they are a lattice of the other
    sds given this one.  So with weights w of the points k in a layer, of sum 1 there,

        E(θ | τ, y) = Σ w_k m_k,    Var(θ | τ, y) = Σ w_k (v_k + m_k²) − (Σ w_k m_k)²,

    with m and v the moments given all sds.

    Parameters
    ----------
    spec : Spec
    data : GroupedData
    sd : str
        Name of the sd, such as ``"tau"``.
    effect : str
        Name of the effects, such as ``"theta"``.
    place : Place, optional
        Values of the covariates that the effects belong to; without it x = 0.
    term : str, optional
        Which of several effects of each group, such as ``"Days"``.

    Returns
    -------
    Dataset
        ``mean`` and ``sd``, both (at, members).  The coordinate ``at`` is the sd in the outcome's
        unit, between the quantiles ``ENDS`` of its posterior.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., figures 5.6 and 5.7.
    """
    dims = ("at", spec.dims(effect)[0])
    coords = {dims[-1]: data.coords[dims[-1]]}
    if sd in spec.fixed:
        raise SpecError(f"{sd} is fixed at {spec.fixed[sd]:g}: nothing varies with it")
    if spec.is_crossed:
        places, mean, sds = crossed_moments_given_sd(spec, data, sd, effect, ENDS)
        return xr.Dataset({"mean": (dims, mean), "sd": (dims, sds)}, {"at": places, **coords})
    if spec.is_blocks:
        asked = spec, data, sd, effect, term, ENDS, place
        places, mean, sds = block_moments_given_sd(*asked)
        return xr.Dataset({"mean": (dims, mean), "sd": (dims, sds)}, {"at": places, **coords})
    if not spec.is_normal:
        places, mean, sds = leaf_moments_given_sd(spec, data, sd, effect, ENDS, place)
        return xr.Dataset({"mean": (dims, mean), "sd": (dims, sds)}, {"at": places, **coords})
    marginal = Marginal.of(spec, standardize(data))
    standard, column = marginal.data, marginal.names.index(sd)
    points, layer, weights = _layers(marginal, marginal.free.index(column))
    share = np.zeros((layer.max() + 1, len(points)))
    share[layer, np.arange(len(points))] = weights
    at = [standard.origin_at(x) for x in place.x] if place else standard.origin
    moments = marginal.given(points).mixture(share, at)
    first = np.unique(layer, return_index=True)[1]
    coords["at"] = marginal.sds(points[first])[:, column]
    mean = standard.location + standard.scale * spec.named(moments.means)[effect]
    sds = standard.scale * np.sqrt(spec.named(moments.variances)[effect])
    return xr.Dataset({"mean": (dims, mean), "sd": (dims, sds)}, coords)


def _layers(marginal: Marginal, axis: int) -> tuple[Floats, Indices, Floats]:
    """A lattice in layers of equal sd: points (n, d), their layers and weights in it, both (n,)."""
    grid, order = _lattice(marginal, axis)
    layer = grid.index[:, 0] - grid.index[:, 0].min()
    mass = np.bincount(layer, weights=grid.weights)
    below = np.cumsum(mass)
    kept = np.flatnonzero((below > ENDS[0]) & (below - mass < ENDS[1]))
    inside = (layer >= kept[0]) & (layer <= kept[-1])
    points = np.empty((inside.sum(), len(order)))
    points[:, order] = grid.points[inside]
    layer = layer[inside]
    return points, layer - kept[0], grid.weights[inside] / mass[layer]


def _lattice(marginal: Marginal, axis: int) -> tuple[Lattice, Indices]:
    """Lay a lattice with one axis first; returns it and the order of the axes."""
    d = len(marginal.free)
    order = np.array([axis, *(j for j in range(d) if j != axis)])
    posterior = marginal.mode_and_scale
    covariance = (posterior.basis @ posterior.basis.T)[np.ix_(order, order)]
    basis = np.linalg.cholesky(covariance)
    basis[:, 0] *= FINE[d] / COARSE
    scale = ModesAndScale(posterior.modes[:, order], basis)
    back = np.argsort(order)

    low, high = _range(marginal, axis)

    def log_density(u: Floats) -> Floats:
        inside = (u[:, 0] >= low) & (u[:, 0] <= high)
        return np.where(inside, marginal.log_density(u[:, back]), -np.inf)

    return lattice.grow(log_density, scale, COARSE, lambda u: np.zeros(len(u))), order


def _range(marginal: Marginal, axis: int) -> tuple[float, float]:
    """Between which coordinates of an sd the fine lattice is laid: well beyond ``ENDS``.

    Its tails reach hundreds of fine steps further.
    """
    grid = marginal.lattice(WIDE)
    order = np.argsort(grid.points[:, axis], kind="stable")
    coordinate, below = grid.points[order, axis], np.cumsum(grid.weights[order])
    low, high = np.searchsorted(below, [BEYOND * ENDS[0], 1 - BEYOND * (1 - ENDS[1])])
    return float(coordinate[low]), float(coordinate[min(high, len(coordinate) - 1)])
