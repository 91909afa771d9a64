"""What is done with a posterior: tables, predictions, ranks, checks, comparisons, reports.

A file for each question that is asked of a posterior, whichever engine drew it.  A result is a
frozen record that shows itself.  It may use pictures, files, both engines and all below them.  A
new question is a file here and a method of ``Fit`` (:mod:`hiermodels.api`).

- ``summary``: tables of draws
- ``variance_components``: how much of the variance lies at each level
- ``shrinkage``: estimates of each group without, with full and with partial pooling
- ``ranking``: league tables
- ``prediction``: rows that have not been observed; ``predicting`` makes it of the rows that are
  given, and ``predictive_draws`` draws them
- ``checks``: test statistics of replicated data
- ``loo``: leave-one-out cross-validation
- ``default_prior``: whether a default prior drives the answer
- ``alternatives``: other priors (``other_priors``), and how far the posterior moves
- ``comparison``: draws against the exact posterior; ``matching`` puts the two side by side,
  ``foreign_draws`` those of other packages, ``draw_tests`` makes the statistics, and
  ``two_samples`` where the exact side is draws, too
- ``simulation``: draws from the priors, and outcomes from these
- ``calibration``: whether an engine is right for all outcomes; ``simulated_fits`` makes the fits,
  ``calibration_record`` keeps them
- ``report``: a fit as one page
"""
