"""What moves under the other flat prior of one sd, with three grouping columns or more.

As :mod:`hiermodels.exact.prior_moves` on the lattice of sds relative to σ.  The ratio of the priors
is 1/τ; at each node σ is taken at its mean there, beside which its sd is small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.kernels.blocks.moments import mixture_moments
from hiermodels.exact.prior_move import Move, hardly_differ, moved, notable, other_weights
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import SD, ExistingMoments


@one_blas_thread()
def block_prior_moves(
    spec: Spec, data: GroupedData, posterior: BlockPosterior, known: ExistingMoments, name: str
) -> Iterator[Move]:
    """What moves notably under the other flat prior of an sd: of each kind what moves most.

    Effects are those at x = 0.
    """
    model, scale = posterior.model, posterior.scale
    log_sd = posterior.values.log_theta + np.log(scale.sigma)
    own = model.names.index(name)
    both, ratio = other_weights(posterior.lattice.weights, log_sd[own])
    if hardly_differ(both, ratio) and known.exist([name], SD):
        return
    sds = dict(zip(model.names, np.exp(log_sd), strict=True)) | {model.sigma_name: scale.sigma}
    effects = _effects(spec, data, posterior, known, both)
    yield from notable((_sds(sds, known, both), effects))


def _sds(sds: dict[str, Floats], known: ExistingMoments, both: Floats) -> Iterator[Move]:
    """Yield the moves of the sds' means."""
    for name, values in sds.items():
        means = both @ values
        spread = float(np.sqrt(both[0] @ (values - means[0]) ** 2))
        if spread > 0 and known.exist([name], SD):
            yield moved(f"posterior mean of {name}", means, spread)


def _effects(
    spec: Spec, data: GroupedData, posterior: BlockPosterior, known: ExistingMoments, both: Floats
) -> Iterator[Move]:
    """Yield the moves of the means of groups' effects, of each level that of the worst."""
    coordinates, law = posterior.marginal.coordinates, posterior.scale.coefficients
    factors, blocks = coordinates.factors(posterior.values), coordinates.blocks(posterior.values)
    where = " at x = 0" if spec.covariates else ""
    every = mixture_moments(blocks, factors, both, law)
    for level, groups, moments in zip(spec.levels, data.levels, every, strict=False):
        if known.exist([level.effect], SD):
            means, spread = moments.mean[:, 0], np.sqrt(moments.covariance[0, 0, 0])
            worst = int((np.abs(means[1] - means[0]) / spread).argmax())
            what = f"posterior mean of {level.effect}[{groups.labels[worst]}]{where}"
            yield moved(what, means[:, worst], spread[worst])
