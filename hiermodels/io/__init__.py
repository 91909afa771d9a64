"""Files, each written atomically.

It may import ``plots`` and what is below it; of a fit it is given the posterior.  A new kind of
file is a module that writes through :mod:`hiermodels.core.files`, which replaces what was there in
one step, at the end, and explains what fails; and a method in ``api.result_files``.  Nothing in a
file is ever executed.

- ``netcdf``: posteriors and statistics as files, and back, bit for bit; ``on_demand`` draws that
  are made when asked for.
- ``parquet``: the noise-free summary of a level, written some groups at a time.
- ``zarr``: ``datatree`` as a Zarr store, with the draws of all groups.
- ``read_tables``: tables that the command line is given.
"""
