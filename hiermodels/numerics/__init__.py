"""Numerical methods on plain arrays.

It may import ``core``, NumPy and SciPy, and knows neither frames nor models.  A new method is a
module with its reference and with an error that its tests hold it to.

- ``lattice``: a density in one to three dimensions, laid out on a lattice; ``modes`` finds where
  it is large, ``rejection`` draws from it, ``lattice_interpolation`` tells it between the points,
  and ``finer`` where a finer one is worth evaluating
- ``product_lattice``: a density on all pairs of two lattices' points, by ``cross_approximation`` of
  its logarithm; ``interpolation_nodes``: few points that functions of a kind are interpolated from
- ``product_sums``: sums over all these pairs, by few products
- ``axis_projection``: many functions on a lattice, summed across all axes but one
- ``gauss_rules``: few places in the place of many, for polynomials
- ``roots``: where falling functions of one number are 0
- ``chebyshev``: sums of a smooth function over very many places, from its values at few
- ``chebyshev_cells``: a smooth function of two numbers at very many places, and such sums
- ``ball_polynomials``: smooth functions of up to three numbers, of each of which evaluation is dear
- ``cubature``: few of many weighted points that have the same moments
- ``bounded_norm``: the shortest vector within bounds that solves linear equations
- ``cones``: directions in which a product of log-concave functions does not fall
- ``normal_mixture``: distribution functions, densities and quantiles of mixtures of normals
- ``lagrange``: interpolation between even places
- ``inversion``: quantiles from a distribution function and its density
- ``stirling``: what Stirling's formula leaves out of a factorial
- ``group_sums``: sums and means over groups; ``group_triangles`` keep their cross-products
- ``monte_carlo_error``: errors of means of autocorrelated draws
- ``uniformity``: whether a sample is uniform
"""
