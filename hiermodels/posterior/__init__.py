"""What every engine returns, and what a posterior without Monte Carlo error can be asked.

It knows no engine: those register by name in ``engine``.  It may use data, model, families,
numerics and core.

- ``record``: draws, and where they come from
- ``engine``: what an engine offers; one more is a module and a line in ``ENGINES``
- ``coordinates``: labels along the variables' dimensions
- ``rows``: their density given all variables, and rows drawn anew
- ``linear_predictor``: of rows, from draws of effects and coefficients
- ``shown_effects``: intercepts of groups that have slopes too, at some covariates
- ``outcome_scale``: effects of groups on the outcome's scale, such as probabilities
- ``arviz_groups``: groups of a DataTree, as ArviZ expects them
- ``reference_posterior``: the base of posteriors without Monte Carlo error
- ``group_questions``: what else these are asked, with ``left_out``, ``variance_shares`` and
  ``estimation`` for answers
- ``precision``: how precise a quadrature is
- ``target``: of what a predictive distribution is asked
- ``moments``: which moments exist, and in words why one does not
- ``ranks``: ranks of groups, draw by draw
- ``tables``: tables that say what they speak of
- ``memory``: what draws take of memory
"""
