"""Distributions of rows given their means.

It may import ``numerics`` and ``core``, and knows neither frames nor models: densities take arrays.
A new family is a module here.

- ``normal``: normal rows
"""
