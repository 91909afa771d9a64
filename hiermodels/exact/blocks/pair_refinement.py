"""Lattices of inner and outer covariances that are fine enough, and the nodes that stand for them.

Lattices of ever smaller spacing h are laid until two in a row agree.  Their difference is about the
error of the wider of both; as errors fall at least as ``exp(−c/h)``, that of the finer is a power.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import PrecisionError
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.pair_functions import PairFunctions
from hiermodels.exact.blocks.pair_lattice import JUDGED, Laid, PairLattices
from hiermodels.exact.blocks.pair_nodes import SEED, TYPICAL, PairNodes
from hiermodels.exact.precision import moments_of
from hiermodels.numerics.product_sums import ProductSums

SPACING = {1: 0.3, 2: 0.7, 3: 1.1}  # of a first lattice of one part
FINER_Z = 0.85  # times that along correlations
FINER = 0.8  # spacing of the next
AIM = {1: 1e-8, 2: 1e-8, 3: 1e-5}  # at least, by the larger part's dimension
MAX_PAIRS = 80_000_000
MAX_LATTICES = 5
MAX_RANK = 200
TIMES = 4.0  # the approximation's error, that moments may be off by
DROPS = {1: 32.0, 2: 30.0, 3: 22.0}  # of the log density, at which lattices end
MASS_DROP, MASS_TOL = 22.0, 5e-5  # where the mass alone is wanted
SAFELY = 0.1  # of the error that is aimed at, and of the lattices', that sums and nodes may add

type Moments = tuple[Floats, Floats]
"""Means and sds of coordinates, sds and correlations."""


def pair_nodes(marginal: BlockMarginal, tol: float) -> PairNodes:
    """Lay ever finer lattices, until two agree or the next were too large; and choose nodes."""
    cut = marginal.cut
    assert cut is not None
    aim = max(tol, AIM[max(len(cut.inner), len(cut.outer))])
    lattices = PairLattices.of(marginal)
    laid, sums, errors = _refined(lattices, _first_spacing(marginal), aim)
    rng = np.random.default_rng(SEED)
    some = rng.permutation(len(laid.product.first))[:JUDGED]
    functions = PairFunctions(lattices.pairs, laid.product.some(some).propose(TYPICAL, rng))
    errors = np.maximum(errors, TIMES * laid.product.cross.error + sums.error)
    below = SAFELY * max(aim, SAFELY * float(errors.max()))
    return PairNodes.of(laid.below, sums, functions, errors, below)


@dataclass(frozen=True)
class Mass:
    """Two lattices that hold a posterior's mass, for which coarse ones do.

    Attributes
    ----------
    lattice : ProductSums
    """

    lattice: ProductSums

    @classmethod
    def of(cls, marginal: BlockMarginal) -> Mass:
        """Lay both."""
        lattices, spacing = PairLattices.of(marginal), _first_spacing(marginal)
        laid = lattices.laid(spacing, MASS_DROP, MASS_TOL, MAX_RANK)
        return cls(ProductSums.of(laid.product, MASS_TOL))

    def lattice_error(self) -> float:
        """Of the logarithm of the mass: by every second point of each, and the approximation."""
        errors = [self.lattice.product.cross.error, self.lattice.error]
        for part in self.lattice.marginals:
            half = part.weights[part.checkerboard].sum() / part.weights.sum()
            errors.append(abs(np.log(2 * half)) ** (2 / np.sqrt(len(part.origin))))
        return TIMES * float(max(errors))


def _first_spacing(marginal: BlockMarginal) -> Floats:
    """Of a first lattice of each part, by coordinate; (d,)."""
    cut, coordinates = marginal.cut, marginal.coordinates
    assert cut is not None
    spacing = np.empty(coordinates.dimension)
    for part in (cut.inner, cut.outer):
        spacing[part] = SPACING[len(part)]
    spacing[coordinates.n_sds :] *= FINER_Z
    return spacing


def _refined(
    lattices: PairLattices, spacing: Floats, aim: float
) -> tuple[Laid, ProductSums, Floats]:
    """Lattices, sums over their pairs, and errors by coordinate in posterior sds; (d,)."""
    drop = DROPS[max(map(len, (lattices.pairs.cut.inner, lattices.pairs.cut.outer)))]
    below = aim / (2 * TIMES)
    laid = lattices.laid(spacing, drop, below, MAX_RANK)
    sums, errors = ProductSums.of(laid.product, SAFELY * below), np.full(len(spacing), np.inf)
    moments = _moments(lattices.pairs.marginal, sums)
    for k in range(MAX_LATTICES - 1):
        finer = np.full(len(spacing), FINER)
        for part in laid.product.coordinates:
            if errors[part].max() <= aim:
                finer[part] = 1.0
        if finer.min() == 1.0 or (k and len(laid.product) > MAX_PAIRS * finer.prod()):
            break
        spacing = spacing * finer
        try:
            laid = lattices.laid(spacing, drop, below, MAX_RANK)
        except PrecisionError:  # too many points along an axis: as fine as it gets
            break
        sums, before = ProductSums.of(laid.product, SAFELY * below), moments
        moments = _moments(lattices.pairs.marginal, sums)
        for part, one, other in zip(laid.product.coordinates, before, moments, strict=True):
            if finer[part].min() < 1.0:
                errors[part] = _difference(one, other) ** (1 / FINER)
    return laid, sums, errors


def _difference(one: Moments, other: Moments) -> float:
    """Largest difference of means and sds, in posterior sds."""
    (mean, sd), (again, sd_again) = one, other
    return float(
        max(np.abs(mean / sd_again - again / sd_again).max(), np.abs(sd / sd_again - 1).max())
    )


def _moments(marginal: BlockMarginal, sums: ProductSums) -> tuple[Moments, Moments]:
    """Of both lattices, under their marginal densities."""
    coordinates, orders, product = marginal.coordinates, marginal.tails.orders, sums.product
    found = []
    for which, part in enumerate(product.coordinates):
        lattice, other = sums.marginals[which], sums.marginals[1 - which]
        parts = (lattice.points, other.points[[other.weights.argmax()]])
        values = coordinates.values(product.joined(*parts[:: 1 - 2 * which]))
        sds = [
            sd
            for sd, place in enumerate(coordinates.on_lattice)
            if place in part.tolist() and orders[sd] == 2
        ]
        pairs = [
            k for k in range(len(marginal.model.correlations)) if coordinates.n_sds + k in part
        ]
        theta, rho = np.exp(values.log_theta[sds]), coordinates.correlations(values)[pairs]
        columns = np.hstack([lattice.points, theta.T, rho.T])
        mean, sd = moments_of(columns, lattice.weights[None])
        found.append((mean[0], sd[0]))
    return found[0], found[1]
