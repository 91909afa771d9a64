"""Formulas in the notation of lme4: parsed, never evaluated.

A formula may come from a file or from a web page, so that it is read as text from beginning to
end: what stands in it are column names, ``C(column)``, ``center(column)``, ``scale(column)``, 0 and
1, and the operators ``~ + : * | / ( )``; a minus only before the 1 that it takes out; ``se(s)``;
and, for counts, ``trials(n)``, ``rate(E)``, ``p(y, n)`` and ``offset(x)``.  Anything else is
refused here, before any other library sees it::

    outcome ~ covariates + (1 | outer/inner)

- ``columns``: what is what, said by a formula or one by one; names that columns can have.
- ``parse``: a whole formula.
- ``groups``: its groups, ``(1 | outer/inner)``.
- ``rows``: its outcome, and the trials, exposure and offset of the rows
- ``terms``: its covariates, ``a + b:c + d*e``, and their factors.
- ``tokens``: the text, cut into what is allowed.
"""
