"""The lattice on densities whose integrals are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln

from hiermodels.numerics import lattice, modes, rejection
from hiermodels.numerics.lattice import LatticeError
from hiermodels.numerics.modes import find_modes


def no_weight(x):
    return np.zeros(len(x))


def log_gamma(shape):
    """Log density of log X, X ~ Gamma(shape): smooth, skew, with exponential tails."""
    return lambda x: (shape * x - np.exp(x) - gammaln(shape)).sum(axis=1)


def normal(covariance, mean):
    law = stats.multivariate_normal(mean, covariance)
    return lambda x: np.atleast_1d(law.logpdf(x))


COVARIANCE = np.array([[2.0, 0.9, -0.5], [0.9, 1.0, 0.1], [-0.5, 0.1, 0.6]])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_moments_of_a_normal_density(d):
    covariance, mean = COVARIANCE[:d, :d], np.array([3.0, -40.0, 0.5])[:d]
    density = normal(covariance, mean)
    frame = find_modes(density, np.zeros((1, d)))
    grid = lattice.grow(density, frame, 0.7, no_weight)
    found = grid.weights @ grid.points
    assert grid.log_integral == pytest.approx(0, abs=1e-11)
    np.testing.assert_allclose(found, mean, rtol=0, atol=1e-10)
    away = grid.points - mean
    np.testing.assert_allclose((grid.weights[:, None] * away).T @ away, covariance, atol=1e-10)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_frame_of_a_normal_density_is_its_mean_and_cholesky_factor(d):
    covariance, mean = COVARIANCE[:d, :d], np.array([3.0, -40.0, 0.5])[:d]
    frame = find_modes(normal(covariance, mean), np.zeros((1, d)))
    np.testing.assert_allclose(frame.modes, mean[None], rtol=0, atol=1e-8)
    np.testing.assert_allclose(frame.basis, np.linalg.cholesky(covariance), rtol=0, atol=1e-7)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_distribution_function_and_density_of_each_axis(d):
    covariance, mean = COVARIANCE[:d, :d], np.zeros(d)
    density = normal(covariance, mean)
    frame = find_modes(density, np.ones((1, d)))
    grid = lattice.grow(density, frame, 0.35, no_weight)
    for axis in range(d):
        law = stats.norm(scale=np.sqrt(covariance[axis, axis]))
        x = law.std() * np.linspace(-3, 3, 13)
        np.testing.assert_allclose(grid.cdf(axis, x), law.cdf(x), rtol=0, atol=1e-10)
        np.testing.assert_allclose(grid.density(axis, x), law.pdf(x), rtol=0, atol=1e-10)
        assert (grid.density(axis, law.std() * np.linspace(8, 60, 99)) >= 0).all()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_lattice_holds_what_is_high_enough_and_a_shell_around_it(monkeypatch, d):
    """All points where density times weight is within exp(−36) of the density's top."""
    monkeypatch.setitem(lattice.STRIDE, 1, 3)
    spacing, centre = {1: 0.3, 2: 0.8, 3: 1.5}[d], 40.3

    def density(x):
        away = x - centre
        return -0.5 * (away**2).sum(axis=1) * (1 + 0.5 * (away[:, 0] < 0))

    def log_weight(x):
        return np.logaddexp(0, x[:, 0] - centre)

    frame = lattice.ModesAndScale(np.full((1, d), centre), np.eye(d))
    grid = lattice.grow(density, frame, spacing, log_weight)
    n = int(15 / spacing)
    box = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * d, indexing="ij"), axis=-1)
    points = (centre + spacing * box).reshape(-1, d)
    values = density(points) + log_weight(points)
    high = (values > density(points).max() - 36).reshape(box.shape[:-1])
    shell = high.copy()
    for axis in range(d):
        for steps in range(1, lattice.STRIDE[d] + 1):
            shell |= np.roll(high, steps, axis) | np.roll(high, -steps, axis)
    expected = box[shell]
    assert {*map(tuple, grid.index.tolist())} == {*map(tuple, expected.tolist())}
    assert len(grid) == len(expected)
    np.testing.assert_allclose(grid.points, centre + spacing * grid.index, rtol=0, atol=1e-12)
    np.testing.assert_allclose(grid.log_density, density(grid.points), rtol=0, atol=1e-12)


def test_distribution_function_and_density_of_a_skew_density():
    density = log_gamma(1.5)
    frame = find_modes(density, np.zeros((1, 1)))
    grid = lattice.grow(density, frame, 0.25, no_weight)
    x = np.linspace(-4, 2, 20)
    law = stats.gamma(1.5)
    np.testing.assert_allclose(grid.cdf(0, x), law.cdf(np.exp(x)), rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        grid.density(0, x), law.pdf(np.exp(x)) * np.exp(x), rtol=0, atol=1e-9
    )


def test_a_weight_reaches_moments_that_the_density_alone_does_not():
    """X = e^x with density ∝ x-tail exp(−1.2 x): E X needs points far beyond the density's end."""
    density = lambda x: (-1.2 * np.logaddexp(0, x) + 1.5 * x - 1.5 * np.logaddexp(0, x))[:, 0]  # noqa: E731
    # p(x) ∝ e^{1.5x} (1 + e^x)^{−2.7}: X is beta prime (1.5, 1.2), with mean 1.5/0.2
    frame = find_modes(density, np.zeros((1, 1)))
    without = lattice.grow(density, frame, 0.35, no_weight)
    with_weight = lattice.grow(density, frame, 0.35, lambda x: np.maximum(x[:, 0], 0))
    assert with_weight.weights @ np.exp(with_weight.points[:, 0]) == pytest.approx(7.5, rel=1e-9)
    assert without.weights @ np.exp(without.points[:, 0]) != pytest.approx(7.5, rel=1e-4)


def test_densities_need_not_be_numbers():
    """Only their logarithms are: at e^5000 nothing overflows, and the draws are the same."""
    plain, high = log_gamma(1.5), lambda x: log_gamma(1.5)(x) + 5000
    frame = find_modes(high, np.zeros((1, 2)))
    grids = [lattice.grow(density, frame, 0.7, no_weight) for density in (plain, high)]
    assert grids[1].log_integral == pytest.approx(grids[0].log_integral + 5000, abs=1e-9)
    np.testing.assert_allclose(grids[1].weights, grids[0].weights, rtol=1e-9)
    assert grids[1].weights.sum() == pytest.approx(1, abs=1e-15)
    drawn = [
        rejection.draw(grid, density, 100, np.random.default_rng(1))
        for grid, density in zip(grids, (plain, high), strict=True)
    ]
    np.testing.assert_allclose(drawn[1].points, drawn[0].points, rtol=0, atol=1e-12)
    assert drawn[1].largest_ratio == pytest.approx(drawn[0].largest_ratio, rel=1e-9)


def test_half_the_points_are_a_lattice_of_wider_spacing():
    density = log_gamma(1.0)
    frame = find_modes(density, np.zeros((1, 2)))
    coarse = lattice.grow(density, frame, 0.7, no_weight)
    fine = lattice.grow(density, frame, 0.35, no_weight)

    def difference(grid):
        half = np.where(grid.checkerboard, grid.weights, 0)
        return abs(half @ grid.points[:, 0] / half.sum() - grid.weights @ grid.points[:, 0])

    truth = -np.euler_gamma  # E log X for X ~ Exponential(1)
    assert abs(coarse.weights @ coarse.points[:, 0] - truth) < difference(coarse)
    assert difference(fine) < 1e-8 < difference(coarse)


@pytest.mark.parametrize(("d", "spacing"), [(1, 0.5), (2, 0.75), (3, 1.0)])
def test_draws_are_from_the_density(d, spacing):
    density = log_gamma(0.8)
    frame = find_modes(density, np.zeros((1, d)))
    grid = lattice.grow(density, frame, spacing, no_weight)
    drawn = rejection.draw(grid, density, 20_000, np.random.default_rng(d))
    assert drawn.points.shape == (20_000, d)
    assert (drawn.log_density == density(drawn.points)).all()
    assert drawn.largest_ratio <= drawn.bound
    assert drawn.acceptance > 0.5
    for axis in range(d):
        law = stats.kstest(np.exp(drawn.points[:, axis]), stats.gamma(0.8).cdf)
        assert law.pvalue > 1e-4
    order = drawn.points[:, 0].argsort().argsort()
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 4 / np.sqrt(20_000)  # independent


@pytest.mark.parametrize("d", [1, 2, 3])
def test_ratio_and_acceptance_of_a_normal_density(d):
    """The interpolant is lowest against the density in the middle of the cell at the mode.

    There it is ``exp(−h²/8)`` of it along each axis.  Both have the integral 1, so that 1/bound of
    the proposals are accepted.
    """
    h, size = 0.5, 20_000
    density = normal(np.eye(d), np.zeros(d))
    frame = lattice.ModesAndScale(np.full((1, d), -h / 2), np.eye(d))
    grid = lattice.grow(density, frame, h, no_weight)
    drawn = rejection.draw(grid, density, size, np.random.default_rng(d))
    assert drawn.bound == 1.05 * (1 + h**2 / 8) ** d
    assert drawn.largest_ratio == pytest.approx(np.exp(d * h**2 / 8), rel=2e-3)
    assert drawn.largest_ratio <= np.exp(d * h**2 / 8) * (1 + 1e-12)
    error = np.sqrt((drawn.bound - 1) / size) / drawn.bound
    assert drawn.acceptance == pytest.approx(1 / drawn.bound, abs=4 * error)


def test_tents_on_lonely_points_are_drawn_as_they_are():
    """Where neighbours are missing the interpolant falls to 0: here it is the density itself."""
    origin, step = np.array([5.0, -2.0]), np.array([[0.5, 0.0], [0.3, 2.0]])
    index, height = np.array([[0, 4], [3, 1], [0, 0], [6, 0]]), np.array([3.0, 1.0, 2.0, 4.0])

    def position(x):
        return np.linalg.solve(step, (x - origin).T).T

    def density(x):
        tents = (1 - np.abs(position(x)[:, None] - index)).clip(0).prod(axis=2)
        return np.log(tents @ height)

    grid = lattice.Lattice(origin, step, index, np.log(height), 1.0)
    drawn = rejection.draw(grid, density, 40_000, np.random.default_rng(1))
    assert drawn.largest_ratio == pytest.approx(1, abs=1e-9)
    away = position(drawn.points)[:, None] - index
    own = np.abs(away).max(axis=2).argmin(axis=1)
    assert stats.chisquare(np.bincount(own), 4000 * height).pvalue > 1e-3
    for column in away[np.arange(40_000), own].T:
        assert stats.kstest(column, stats.triang(0.5, -1, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("size", [0, 1, 2, 50])
def test_as_many_draws_as_are_asked_for(size):
    """And the share of all that were looked at which were accepted, those beyond them too."""
    density, looked = log_gamma(1.5), []
    frame = find_modes(density, np.zeros((1, 2)))
    grid = lattice.grow(density, frame, 0.7, no_weight)
    counted = lambda x: looked.append(len(x)) or density(x)  # noqa: E731
    drawn = rejection.draw(grid, counted, size, np.random.default_rng(1))
    assert drawn.points.shape == (size, 2)
    assert drawn.log_density.shape == (size,)
    assert (drawn.largest_ratio > 0) == (size > 0)
    accepted = drawn.acceptance * sum(looked)
    assert accepted == pytest.approx(round(accepted), abs=1e-9)
    assert size <= accepted <= sum(looked)


def test_a_bound_that_is_too_low_is_raised_and_the_draw_begun_again(monkeypatch):
    """Without it, the middle of each cell would be drawn too rarely."""
    density = normal(np.eye(1), np.zeros(1))
    frame = find_modes(density, np.zeros((1, 1)))
    grid = lattice.grow(density, frame, 2.5, no_weight)
    wide = lattice.Lattice(grid.origin, grid.step, grid.index, grid.log_density, spacing=0.01)
    drawn = rejection.draw(wide, density, 20_000, np.random.default_rng(1))
    assert drawn.bound >= drawn.largest_ratio > 1.05 * (1 + 0.01**2 / 8)
    assert stats.kstest(drawn.points[:, 0], stats.norm.cdf).pvalue > 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_the_sharper_of_two_curvatures_is_nowhere_below_either(seed):
    """And on their common axes it is the larger, not more."""
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(3, 3))
    sizes = rng.uniform(0.1, 10, (2, 3))
    first, second = ((axes * size) @ axes.T for size in sizes)
    found = modes._sharper(first, second)
    np.testing.assert_allclose(found, (axes * sizes.max(axis=0)) @ axes.T, rtol=1e-9)


@pytest.mark.parametrize("place", [0.0, 1.0])
def test_differences_are_as_wide_as_the_density_is(place):
    """Wide where it bends slowly; each axis for itself; the same wherever the parabola stands."""
    sizes = np.array([1e-9, 1e-4, 0.05, 1.0])
    point = place * sizes

    def density(x):
        return -0.5 * ((x / sizes) ** 2).sum(axis=1)

    bend = (modes._widths(density, point) / sizes) ** 2
    assert (bend[:2] > modes.BEND / 3).all()
    assert (bend <= 8 * modes.BEND).all()
    assert modes._widths(density, point)[3] == modes.WIDEST


@pytest.mark.parametrize("height", [1e9, -1e9])
def test_differences_stand_out_from_rounding(height):
    """Of a huge logarithm, that of a parabola has to be larger than its last digits."""
    width = modes._widths(lambda x: height - 0.5 * (x[:, 0] / 1e-3) ** 2, np.zeros(1)).item()
    assert modes.ROUNDING <= (width / 1e-3) ** 2 / 1e9 <= 8 * modes.ROUNDING


def test_a_density_that_is_not_smooth_is_refused_with_the_place():
    def density(x):
        return np.where(np.abs(x[:, 0]) < 1e-15, 0.0, -1e9)

    with pytest.raises(LatticeError, match=r"^the density is not smooth at \[0\.\]$"):
        modes._widths(density, np.zeros(1))


def test_no_place_to_begin_is_refused():
    with pytest.raises(LatticeError, match=r"^no place was found at which the density is above 0$"):
        find_modes(normal(np.eye(1), np.zeros(1)), np.empty((0, 1)))


def test_separate_modes_are_all_found():
    """Two peaks with a gap of exp(−50) between them, reached from two starts."""

    def density(x):
        return np.logaddexp(
            stats.norm.logpdf(x[:, 0], -10, 1) + np.log(0.3),
            stats.norm.logpdf(x[:, 0], 10, 0.8) + np.log(0.7),
        )

    frame = find_modes(density, np.array([[-9.0], [9.0]]))
    np.testing.assert_allclose(frame.modes, [[10.0], [-10.0]], rtol=0, atol=1e-6)
    assert frame.basis.item() == pytest.approx(0.8, abs=1e-7)  # of the highest
    grid = lattice.grow(density, frame, 0.4, no_weight)
    assert grid.log_integral == pytest.approx(0, abs=1e-9)
    assert grid.cdf(0, np.zeros(1))[0] == pytest.approx(0.3, abs=1e-9)


def test_a_density_without_end_is_refused():
    with pytest.raises(
        LatticeError, match=r"^no mode was found near \[\d+.*\]: the density rises "
    ):
        find_modes(lambda x: x[:, 0], np.zeros((1, 1)))


@pytest.mark.parametrize("start", [-30.0, 1.5])
def test_modes_are_found_from_where_the_density_is_convex(start):
    """Student's t curves upwards beyond its shoulders: Newton's step alone leads away."""
    density = lambda x: stats.t(3).logpdf(x[:, 0])  # noqa: E731
    frame = find_modes(density, np.array([[start]]))
    assert frame.modes.item() == pytest.approx(0, abs=1e-3)
    assert frame.basis.item() == pytest.approx(np.sqrt(3) / 2, rel=1e-3)


@pytest.mark.parametrize(
    ("density", "start"),
    [
        (lambda x: -(np.abs(x[:, 0]) ** 1.4), 0.3),
        (lambda x: np.where(x[:, 0] > 0, -1, 10) * x[:, 0], 0.3),
        (lambda x: np.where(x[:, 0] > 0, -1, 10) * x[:, 0], 0.0),
    ],
    ids=["overshooting", "a kink", "no step leads up"],
)
def test_a_step_that_leads_down_is_shortened(density, start):
    """Newton's step for |x|^1.4 goes from x to −1.5 x; at a kink differences see a slope."""
    frame = find_modes(density, np.array([[start]]))
    assert abs(frame.modes.item()) < 0.02  # the width of the differences


def test_the_first_of_five_axes_may_be_long():
    """As that of an sd beside four coefficients: 40 points on one side of the mode."""
    frame = lattice.ModesAndScale(np.zeros((1, 5)), np.eye(5))

    def density(x):
        first = x[:, 0]
        return -np.where(first > 0, first**2, np.hypot(1, first) - 1) - (x[:, 1:] ** 2).sum(axis=1)

    laid = lattice.grow(density, frame, np.array([0.9, 2.5, 2.5, 2.5, 2.5]), no_weight)
    assert laid.index[:, 0].min() < -40
    assert np.abs(laid.index[:, 1:]).max() < 6


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_density_that_does_not_end_is_refused(monkeypatch, axis, side):
    """On one side of one axis; nor is one with a mode so far away."""
    monkeypatch.setitem(lattice.BOX, 2, 64)
    frame = lattice.ModesAndScale(np.zeros((1, 2)), np.eye(2))

    def open_on_one_side(x):
        return -3 * np.abs(x[:, 1 - axis]) - 40 * np.maximum(-side * x[:, axis], 0)

    message = "does not end within 32 points of its mode"
    with pytest.raises(LatticeError, match=message):
        lattice.grow(open_on_one_side, frame, 1.0, no_weight)
    modes = np.zeros((2, 2))
    modes[1, axis] = 1000 * side
    density = normal(np.eye(2), np.zeros(2))
    with pytest.raises(LatticeError, match=message):
        lattice.grow(density, lattice.ModesAndScale(modes, np.eye(2)), 1.0, no_weight)
    assert len(lattice.grow(density, frame, 1.0, no_weight)) > 200


def test_draws_are_reproduced_by_the_seed():
    density = log_gamma(2.0)
    frame = find_modes(density, np.zeros((1, 2)))
    grid = lattice.grow(density, frame, 0.75, no_weight)
    first, second = (
        rejection.draw(grid, density, 100, np.random.default_rng(3)).points for _ in range(2)
    )
    assert (first == second).all()
