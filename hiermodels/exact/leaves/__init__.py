"""Two levels of groups whose rows are not conjugate to a normal effect: counts, above all.

    y_i | θ_i ~ L_i(θ_i),    θ_i ~ N(x_i'γ, τ²),    i = 1, …, k,

with flat or normal priors of the coefficients γ, the intercept among them, and any prior of τ.
Only the effects θ_i are integrated out, each by itself (:mod:`hiermodels.exact.kernels.leaves`);
τ and γ stay on the lattice.  All is arrays: neither frames nor specifications.

- ``model``: the record of the model, and groups that are alike
- ``coordinates``: of τ and γ, in which the posterior suits a lattice
- ``many_counts``: groups with very many distinct counts, between few leaves
- ``tables``: integrals at many nodes that share each τ
- ``marginal``: the posterior of τ and γ, and its lattice
- ``laying``: what laying a lattice takes
- ``refinement``: lattices that are fine enough
- ``on_lattice``: what a lattice says of sds and coefficients
- ``posterior``: sums over a lattice
- ``mass_sums``: sums over posterior masses of effects
- ``linear``: distribution functions of linear predictors
- ``effect_law``: distribution functions from densities on a grid
- ``effects``, ``elsewhere``: those of the groups' effects, at their own covariates and at others
- ``predictive``: groups left out, new groups, further counts
- ``predictors``: linear predictors of rows at any covariates, of known groups and of new ones
- ``score``: the likelihood's derivatives; ``maximum``: where it is highest, and effects there
- ``draws``, ``chunks``: exact draws, of effects in chunks with random numbers of their own
"""
