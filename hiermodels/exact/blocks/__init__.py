"""Groups with several effects, at any number of nested levels: slopes, above all.

    y_i = z_i'θ_group + x_i'β + N(0, σ²/ω_i),    θ_u = θ_parent + N(0, T_ℓ),

with flat or normal priors of the coefficients, and priors of sds and correlations of each T_ℓ.
Effects and coefficients are integrated out (:mod:`hiermodels.exact.kernels.blocks`), and so is σ;
sds and correlations stay on the lattice.  All is arrays: neither frames nor specifications.

- ``model``: the record of the model; ``normal_model``: what is asked of any model of sds
- ``sd_coordinates``, ``sd_marginal``, ``sd_posterior``: what is alike whatever integrates effects
  out
- ``propriety``: whether the posterior exists, and which of its moments do, by ``rays``
- ``correlations``, ``coordinates``: of what stays on the lattice
- ``residual_scale``: σ integrated
- ``marginal``: the posterior of sds and correlations, and its lattice
- ``cut``, ``pairs``: inner and outer levels, and where they meet
- ``pair_lattice``, ``pair_refinement``: a lattice of each, and the density on all pairs
- ``pair_functions``, ``pair_nodes``: few pairs that stand for all
- ``posterior``: lattices that are fine enough, and moments
- ``hyper_laws``, ``sd_laws``: distribution functions of sds and correlations
- ``mixtures``: those of coefficients and effects
- ``draws``: exact draws
- ``likelihood``: the likelihood of covariances, restricted or not, and its maximum
- ``left_out``: densities of units left out
"""
