"""Distributions of rows given their linear predictors.

It may import ``numerics`` and ``core``, and knows neither frames nor models: densities take arrays.
A new family is a module here, a line in ``registry``, and a line in the contract tests
(``tests/contracts/test_families_contract.py``), which run on every registered one by themselves.

- ``family``: the protocol: what every family says of itself
- ``registry``: all families by their names
- ``normal``: normal rows
- ``leaves``: the protocol of leaves: what all rows of a group say of its one effect
- ``binomial_leaves``, ``poisson_leaves``, ``normal_leaves``: the leaves of these families
"""
