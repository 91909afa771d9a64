"""Groups whose rows are not conjugate to a normal effect: one-dimensional integrals over it.

Of k groups with leaves ``L_i`` (:mod:`hiermodels.families.leaves`) and nodes (μ_j, τ_j),

    m_ij = ∫ L_i(θ) N(θ | μ_j, τ_j²) dθ.

It knows neither priors nor covariates: a node says where the groups' effects lie.

- ``grid``: places shared by all groups and nodes, which make the integrals a matrix product
- ``prior_centred``: places around μ_j, for nodes narrower than the grid
- ``mode_centred``: places around the mode of the integrand, for groups far from a node
- ``node_masses``: a group's effect at each node by itself
- ``given_nodes``: means of functions of a group's effect at each node
- ``draws``: draws of effects given their mean and sd; ``tangents`` of log-concave leaves,
  ``interpolated`` of others
- ``sheet``, ``outer_functions``, ``outer``: functions of outer groups' effects, tabulated
- ``outer_draws``: draws of outer groups' effects given all above them
- ``integral``: the integrals, and the groups' effects given the nodes, by whichever rule holds
"""
