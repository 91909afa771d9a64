"""From frames, lazy ones too, to grouped data and their statistics.

Every error about the data is raised here, with the column, the rows and what to do.  It may import
``model`` and what is below it, and knows no engine: these are given ``GroupedData``, whether rows
or statistics.  A new kind of data is a class of its own with what ``grouped.GroupedData`` asks
for, made in ``prepare``; a new back end is one that narwhals knows, and its errors in
``backend_errors``.

- ``arguments``: those that say which model it is, listed once for all functions that take them
- ``prepare``: from what a user gives to a specification and data
- ``roles``: which column is what, from ``known_columns``; ``readings`` says what it may be
- ``frame``: what is read of a frame, column by column; ``as_frame`` makes one of arrays, of series
  and of an index
- ``given_arrays``: numbers of rows that are given as arrays, made columns of the data
- ``outcome``: the outcome and what belongs to it, such as trials, checked by the rows' family
- ``nesting``: groups of each level, numbered, and whether their labels are nested
- ``grouped``: data in groups, and rows, with their ``observations``; ``read_rows`` reads them from
  a frame, and ``shared_groups`` checks those of rows that have errors of their own
- ``sampling_covariance``: known covariances of rows' errors, which ``read_covariance`` reads
- ``design``: the columns that the terms of a formula stand for; ``coding`` makes them of levels
  and numbers, ``collinearity`` says whether they can be told apart
- ``varying``: columns of the design that vary between groups
- ``cells``: rows that share their group in every column, where these are crossed
- ``statistics``: statistics of groups in place of rows, ``row_moments``, with what
  ``group_moments`` says of these and ``slopes`` of columns that vary; ``merge`` puts those of two
  parts together, and
  ``level_means`` has means of the levels above
- ``strata``: labels of rows that have residual sds of their own; ``stratum_statistics``: of each
- ``totals``: of counts, what the rows of each group add up to
- ``lazy``: statistics of rows that stay where they are, from ``lazy_columns``, checked and written
  as expressions, and ``lazy_sums``, queries that keep their digits; ``lazy_counts`` of counts
- ``backend_errors``: what a back end raises, told as an error in the data
- ``every_member``: a row to predict for each group that is known, and for new ones
- ``new_rows``: rows to predict, with ``labels`` that are known, nearly known or new
- ``covariates``: at which values of the covariates effects are shown
"""
