"""Crossed groups with one normal effect each: the largest factor in closed form, then a Cholesky.

- ``design``: what the rows say of the effects of all factors
- ``upward``: effects integrated out given their sds, at each node
- ``large``: the same of large matrices, in place
- ``downward``: effects given the rows and the coefficients: moments, combinations and draws
"""
