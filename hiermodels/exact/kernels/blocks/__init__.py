"""Nested groups with several normal effects each: slopes, at any number of levels.

- ``blocks``: what the rows say of their groups, and how these hang together; the model's equations
- ``strata``: rows with residual sds of their own, which ``stratified`` decomposes
- ``turned``: groups of one row each, whose errors are correlated
- ``rotations``: orthogonal transformations of small arrays, many at a time
- ``upward``: effects integrated out, from the rows upwards
- ``root``: what is left: the coefficients and σ
- ``downward``: effects given those above them, from the root downwards
- ``moments``: moments of effects, averaged over nodes of the covariances
- ``draws``: draws of all effects
- ``leave_out``: rows and groups left out
"""
