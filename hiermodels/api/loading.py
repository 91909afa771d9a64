"""``load`` and ``load_statistics``: what was saved, read again."""

from __future__ import annotations

import os

from hiermodels.api.result import Fit
from hiermodels.core.arguments import checked
from hiermodels.data.statistics import SufficientStatistics


@checked
def load(path: str | os.PathLike[str]) -> Fit:
    """Read a fit that :meth:`Fit.to_netcdf` has saved.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Fit
        With the same draws, data, priors and certificate as the one that was saved, bit for bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is not a saved fit, is damaged, or was written by a later version.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import hiermodels as hm
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> with TemporaryDirectory() as folder:
    ...     path = fit.to_netcdf(Path(folder) / "schools.nc")
    ...     again = hm.load(path)
    >>> again.datatree.identical(fit.datatree)
    True
    """
    from hiermodels.io.netcdf import load as load_posterior

    return Fit(load_posterior(path))


@checked
def load_statistics(path: str | os.PathLike[str]) -> SufficientStatistics:
    """Read statistics that :meth:`SufficientStatistics.to_netcdf` has saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it does not hold statistics, is damaged, or was written by a later version.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import hiermodels as hm
    >>> roles = {"outcome": "strength", "groups": ["batch", "cask"]}
    >>> statistics = hm.SufficientStatistics.of(hm.datasets.load_pastes(), **roles)
    >>> with TemporaryDirectory() as folder:
    ...     path = statistics.to_netcdf(Path(folder) / "pastes.nc")
    ...     hm.load_statistics(path)
    SufficientStatistics(60 rows in 10 batch, 30 cask)
    """
    from hiermodels.io.netcdf import load_statistics

    return load_statistics(path)
