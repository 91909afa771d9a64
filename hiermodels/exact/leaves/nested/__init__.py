"""Three levels: groups within outer groups, whose rows are not conjugate to a normal effect.

    y_i | θ_i ~ L_i(θ_i),    θ_i ~ N(μ_s(i) + x_i'β, τ²),    μ_s ~ N(λ, κ²).

Given τ and β an outer group is itself a leaf, a function of its one effect:

    F_s(μ) = Σ_{i in s} log ∫ L_i(θ) N(θ | μ + x_i'β, τ²) dθ.

So on every line of the lattice with the same τ and β these functions are tabulated once, and what
lies above them is the problem of two levels.

- ``model``: the record of the model
- ``groups``: outer groups that are alike
- ``coordinates``: of τ, β, κ and λ, in which the posterior suits a lattice
- ``inner_tables``: integrals of inner leaves at one τ, which all β share
- ``line_table``: outer groups as functions of their effects, tabulated; ``bent_places``: of what
  has tails that are powers
- ``outer_leaves``: outer groups as leaves
- ``marginal``: the posterior of τ, β, κ and λ, and its lattice
- ``masses``: posterior masses of the outer effects, and of groups' means
- ``posterior``: sums over a lattice; ``moments``: those of effects
- ``maximum``: maximum likelihood
- ``linear``: distribution functions of λ and β
- ``outer_densities``: densities of outer effects; ``moved``: of what covariates move
- ``effects``: distribution functions of effects of both levels
- ``exchanged``: groups with another leaf, and groups left out
- ``shares``: shares of the variances
- ``laws``: all that the posterior says of its levels
- ``draws``: exact draws; ``direct``: the density that they are accepted by where it cannot be
  interpolated
"""
