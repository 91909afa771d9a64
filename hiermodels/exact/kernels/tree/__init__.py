"""Nested groups with one normal effect each.

- ``kernel``: all of it as a kernel
- ``tree``: what the rows say of their groups, and how these hang together; the model's equations
- ``marginal``: the marginal likelihood, from the rows upwards
- ``conditional``: effects given those above them, from the root downwards
- ``moments``: moments of effects, given the sds and averaged over nodes of these
- ``draws``: draws of all effects
- ``leave_out``: densities of rows, or of all rows of a group, given all others
- ``within``: what the rows of each group say beside their mean
"""
