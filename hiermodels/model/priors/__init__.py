"""Priors of sds, variances, means and coefficients; one class each, named in ``registry``.

- ``base``: what every prior is; ``variance`` and ``coefficients``: those that there are
- ``registry``: all priors by their names; ``sets``: named sets of them
- ``defaults``: which prior each parameter of a model has
"""
