"""The exact engine: from the marginal posterior of the sds to draws and to sums without error.

Given the sds all else is normal and integrated out by a kernel (``kernels``).  What is left is a
density in one to three dimensions, which is laid out on a lattice: draws come from it by
rejection, and means, sds and distribution functions are sums over it.  It may use the record that
every engine returns (``posterior``) and all below it.

- ``standardize``: data on the unit scale (``standardized``), covariates as orthonormal columns
  (``orthonormal``)
- ``leaves``: posteriors of counts and other rows that are not normal, as arrays; ``leaf_data``
  makes these of a specification and data, ``leaf_reference`` is the posterior without Monte Carlo
  error, ``leaf_effects`` has draws, ``leaf_left_out`` leaves groups out and
  ``leaf_rows_left_out`` rows, ``leaf_shares`` has shares of the variance,
  ``leaf_predictive`` and ``leaf_outcomes`` predict
- ``glmm``: posteriors of counts with covariates that vary within groups, as arrays; ``glmm_data``
  makes these of a specification and data, ``glmm_grid`` says where draws are proposed,
  ``glmm_effects`` has draws, ``glmm_reference`` is the posterior over weighted points,
  ``glmm_left_out`` leaves units out, ``glmm_plug_in`` has estimates and ``glmm_given_sd`` effects
  given tau
- ``blocks``: posteriors of groups with several effects, at any number of levels, as arrays
- ``crossed``: posteriors of crossed groups, as arrays; ``crossed_data`` makes these of a
  specification and data, ``crossed_reference`` is their posterior without Monte Carlo error, which
  leaves units out (``crossed_left_out``); ``crossed_plug_in`` has estimates given sds as numbers,
  ``crossed_raw`` what a group's own rows say, ``crossed_given_sd`` what deviations are given one
  sd, and ``crossed_effects`` draws
- ``block_data`` makes these of a specification and data, ``block_reference`` is their posterior
  without Monte Carlo error, a ``block_mixture``; ``correlated_rows`` takes rows whose errors are
  correlated; ``block_effects`` has draws, ``block_joint`` the density of effects;
  ``block_moments`` says which moments exist
- ``sd_reference``: what the posteriors of blocks and of crossed groups have in common;
  ``summed``: these and that of leaves
- ``propriety``: whether the posterior exists; ``moments`` says which of its moments do
- ``leaf_propriety``: the same of counts, from what groups say of their effects (``leaf_design``);
  ``leaf_refusals`` are its errors, ``leaf_moments`` and ``rate_moments`` say which moments exist;
  ``row_propriety`` is of covariates that vary within groups
- ``prior_moves`` and ``leaf_prior_moves``: how far quantities move under another prior
  (``prior_move``)
- ``marginal``: the posterior of the sds; ``grid`` is its coarse lattice
  (``coarse_grid``), ``sd_axis`` the coordinate
  of one of them
- ``lattice_errors``: what is said of posteriors that no lattice can hold
- ``sample``: draws; ``effects`` draws all that is normal given the sds; ``importance`` has draws
  of counts that are not exact, but resampled; ``drawn`` lays either out as a posterior
- ``noise_free``: the posterior without Monte Carlo error: ``quadrature`` with groups; without,
  ``conjugate`` and ``regression``, which have ``closed_form`` in common
- ``point_mass``: the law of an sd that is fixed
- ``lattice_mixture``: its components over the lattice, ``compressed`` where groups are very many;
  ``predictive`` predicts, ``precision`` says how well the lattice holds it
- ``given_sd``: values given one sd, ``leaf_given_sd`` those of groups whose rows are not normal,
  ``block_given_sd`` with slopes or many levels
- ``raw_values``: what the rows of each group say by themselves; ``block_raw``, of several effects
- ``leaves``: groups whose rows are not normal, with the coefficients on the lattice too
- ``joint``: the joint log density of all variables; ``row_sums`` adds rows up that are alike
- ``group_likelihood``: densities of all rows of a group; ``block_group_likelihood`` with slopes
- ``left_out``: units left out, by the kernels of ``tree_left_out`` and ``block_left_out``, which
  takes rows as ``block_rows`` has them
- ``sd_squares``: moments of variances
- ``variance_shares``: shares of levels in the total variance; ``block_variances``, with slopes
- ``replicates``: replicated data, ``row_replicates`` of rows that are not normal,
  ``slope_replicates`` of groups with slopes, ``crossed_replicates`` of crossed groups, and their
  ``group_statistics``
- ``point_estimates``: estimates of the sds as numbers (``profile_likelihood``,
  ``study_estimators``); ``plug_in``, ``block_plug_in``, ``leaf_plug_in`` and
  ``leaf_nested_plug_in``: estimates of all else given these
"""
