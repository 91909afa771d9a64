"""What every other room may use: messages, options, threads, seeds, files.

It may import ``errors`` alone, and knows neither data nor models.  What two rooms need, and neither
is about, becomes a module here, named after what it does.

- ``arguments``: arguments of public functions, checked against their annotations
- ``options``: numbers and names as users give them, checked
- ``scalars``: single values: whether one is a number, and which
- ``parameters``: parameters of priors and families: numbers, checked where they are given
- ``messages``: how messages name columns, rows and values
- ``names``: names of dimensions
- ``suggestions``: what may have been meant by a name that is not known
- ``arrays``: types of arrays, and constants of densities
- ``seeds``: seeds of random generators
- ``threads``: independent pieces of work in several threads
- ``blas``: the same bits whatever the number of threads
- ``progress``: a bar for those who wait
- ``files``: files that are written atomically
- ``codec``: objects as JSON and arrays, and back; a class that is to be stored is ``storable``
- ``container``: a netCDF file of these and of groups of draws
- ``hdf5``: whether such a file is damaged, before it is read
"""
