"""Counts with covariates that vary within groups, as arrays: exact draws, and weighted points.

Given τ and the coefficients, the effects of the groups are independent and integrated out one by
one; those of nested groups level after level.  Given τ, the log likelihood of the coefficients is
concave, and falls from its mode at least as fast as a known function: so draws are accepted below
that.  This room may use ``kernels`` and ``leaves``.

- ``rows``: log likelihoods of binomial and Poisson rows; another family whose third derivative is
  bounded by its second is a class here and a line in ``glmm_data``
- ``integrals``: effects integrated out, with derivatives, moments, and rows left out
- ``modes``: the model, and modes of the coefficients; ``path``: as a curve in τ
- ``nested_rows``, ``windows`` and ``nested_integrals``: the same of groups in outer groups, whose
  modes are a surface over two sds (``nested_model``); ``nested_proposals`` and ``nested_effects``
- ``envelope``: the bound along rays from the mode, and distances drawn below it
- ``proposals`` and ``draws``: rejection; ``importance``: weighted draws, resampled; ``effects``
  draws the groups' effects
- ``points``: weighted points, of a lattice (``lattice_points``) or along random directions
  (``sphere_points``, by the rules of ``directions``)
- ``laws``: what they say, in the terms of ``leaves``; ``normal_kernels`` has distribution functions
- ``maximum``: the highest likelihood
"""
