"""What users call: one module for each verb, named otherwise than the verb.

A module here checks its arguments, hands over to the rooms below and shows what they make.  It may
import every room below it, that is all but the faces (``cli``, ``demo`` and the like).  A new verb
is a function in a module of its own, with :func:`hiermodels.core.arguments.checked`, and a name in
``hiermodels.__all__``; what needs PyMC is loaded later, by ``hiermodels.__getattr__``.  A new
method of ``Fit`` goes into the part of its subject, and imports inside itself what takes time to
load.

- ``arguments``: those of functions that take a model and options of an engine.
- ``fitting``: ``fit``, from a data frame to a posterior.
- ``added_groups``: what ``fit`` adds to ``datatree`` beside draws, where asked for.
- ``result``: ``Fit``, a posterior and what one does with it, put together from its parts.
- ``result_base``: a part of it: the posterior itself, its draws, and the same without error.
- ``result_tables``: tables of parameters, shares of variance, groups, checks and other priors.
- ``result_predictions``: predictions of new rows, from the priors, and of what is left out.
- ``result_pictures``: pictures.
- ``result_files``: netCDF, Parquet, Zarr and the report in HTML.
- ``loading``: ``load`` and ``load_statistics``, what was saved, read again.
- ``noise_free``: ``reference``, the posterior without Monte Carlo error.
- ``comparing``: ``compare``, draws against the exact posterior.
- ``calibrating``: ``calibrate``, whether an engine finds the posterior, whatever the data.
- ``prior_sensitivity``: ``sensitivity``, how far the posterior moves under other priors.
- ``pymc_models``: ``normal_inverse_gamma``, ``two_level`` and ``three_level``, models for PyMC.
"""
