"""Crossed groups with one normal effect each.

    y_i = x_i'γ + Σ_k u_k[m_k(i)] + N(0, σ²/ω_i),    u_k ~ N(0, τ_k² I),

with flat or normal priors of the coefficients γ, and priors of the sds.  Effects and coefficients
are integrated out (:mod:`hiermodels.exact.kernels.crossed`), and so is σ; the sds stay on the
lattice.  What is above kernels is that of :mod:`hiermodels.exact.blocks`.  All is arrays: neither
frames nor specifications.

- ``rows``, ``model``: what is observed, and the priors
- ``propriety``: whether the posterior exists, and which of its moments do; ``connections``: what
  a design leaves to the priors
- ``coordinates``, ``marginal``: the posterior of the sds, and its lattice
- ``interpolated``: what rows say, by polynomials, where each node is dear
- ``posterior``: lattices that are fine enough, and moments
- ``mixtures``: laws of sums of effects and coefficients
- ``draws``: exact draws
- ``likelihood``: the likelihood of the sds, restricted or not, and its maximum
"""
