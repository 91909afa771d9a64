"""Distributions of rows given their linear predictors.

It may import ``numerics`` and ``core``, and knows neither frames nor models: densities take arrays.
A new family is a module here, a line in ``registry``, and a line in the contract tests
(``tests/contracts/test_families_contract.py``), which run on every registered one by themselves.

- ``family``: the protocol: what every family says of itself
- ``links``: from the outcome's scale to that of linear predictors, and back
- ``registry``: all families by their names
- ``normal``, ``student_t``: real outcomes with known or common standard deviations
- ``binomial``, ``poisson``, ``negative_binomial``: counts
- ``reals``, ``events``: what families of each of these two kinds have in common
- ``odds_ratio``: 2×2 tables; ``odds_ratio_tables`` sums over their counts
- ``checks``: which values no family takes
- ``leaves``: the protocol of leaves: what all rows of a group say of its one effect
- ``binomial_leaves``, ``poisson_leaves``, ``normal_leaves``, ``student_t_leaves``,
  ``odds_ratio_leaves``: the leaves of these families; ``count_leaves`` what the first two have in
  common; ``row_leaves`` those of any rows that do not add up to one
- ``totals``: rows of counts put together
- ``raw``: what the rows of each group say by themselves
"""
