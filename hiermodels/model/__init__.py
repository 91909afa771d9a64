"""What is assumed: specification, formula, priors.  Never how it is computed.

It may import ``families`` and what is below it.  A new prior is a class in ``priors``, registered
there; a new level or parameter begins in ``level`` or ``spec``, which
name it and give it its prior.

- ``level``: what is assumed of the groups of one level; ``level_priors`` gives their parameters
  the priors that are stated, or the defaults
- ``nests``: which columns of groups lie in which; ``crossing``: what goes with crossed ones
- ``names_of_columns``: whether columns of the data can stand beside a model's variables
- ``spec``: levels, parameters, their priors, known or unknown errors; ``stated_priors`` are asked
  for by the kind that they are
- ``formula``: formulas in the notation of lme4
- ``priors``: distributions of sds, of correlations and of coefficients
- ``prior_densities``: log densities of priors at values of all parameters
- ``family_columns``: whether a family of rows has the columns that it needs
- ``standard_errors``: known errors of the rows, stated as they are or as variances; ``sampling``
  says how they are correlated
"""
