"""From a specification to a PyMC model, and NUTS.

It may import ``exact`` and what is below it.  Of the other rooms only ``api`` imports it, and the
registry of engines loads it by name when NUTS is first asked for, since PyMC takes seconds.  A
prior states itself, by its method ``to_pymc``; another parameterization is a form in
``parameterization`` and its branch in ``model``.  Tests hold each density to that of the exact
engine.

- ``sample``: the engine: draws of NUTS, with the checks that its samplers leave out.
- ``options``: its options, checked before anything is compiled.
- ``convergence``: whether chains have converged.
- ``interruption``: sampling that is interrupted is no shorter fit.
- ``model``: ``build_model``: coefficients and the effects of all levels, stated or integrated out.
- ``rows_model``: models of rows that are not normal, such as counts.
- ``blocks_model``: models of groups with several effects, and of three columns of groups.
- ``crossed_model``: models of crossed groups; ``crossed_approximation`` says about where their
  posterior lies.
- ``block_marginal``: their likelihood with effects and coefficients integrated out.
- ``block_approximation``: about where their posterior lies.
- ``approximation``: normal measurements in their place, which tell where a posterior lies.
- ``levels``: coefficients and effects of all levels, whatever the rows are.
- ``marginal``: the likelihood with effects and coefficients integrated out.
- ``outcome``: the outcome, as rows or as means and the scatter around them.
- ``transforms``: coordinates in which NUTS finds its way, whatever the outcome's unit.
- ``parameterization``: how a model states its levels, and why so.
"""
