"""A fit as a file: netCDF, Parquet, Zarr, and a report in HTML."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hiermodels.api.result_base import ResultBase
from hiermodels.core.arguments import checked_methods
from hiermodels.core.options import count
from hiermodels.data.covariates import AUTO, At
from hiermodels.posterior.tables import CI_PROB


@checked_methods
class ResultFiles(ResultBase):
    """Files of a posterior."""

    def to_netcdf(self, path: str | os.PathLike[str]) -> Path:
        """Save the fit atomically; :func:`hiermodels.load` reads it, bit for bit.

        The file is netCDF with the groups of ``datatree``, which ArviZ reads as any other, and a
        group ``hiermodels`` with what else belongs to the fit.

        Parameters
        ----------
        path : str or path
            A file that is there already is replaced, in one step, at the end.

        Returns
        -------
        Path
            Of the file.

        Raises
        ------
        SpecError
            If a file cannot hold the fit: a prior of a class of your own, or a name that netCDF
            does not allow.
        DataError
            If the file cannot be written; what was there before is as it was.
        """
        from hiermodels.io.netcdf import save

        return save(self.posterior, path)

    def to_parquet(
        self,
        path: str | os.PathLike[str],
        level: str | None = None,
        *,
        ci_prob: float = CI_PROB,
        at: At = AUTO,
        row_group_size: int = 65_536,
        progressbar: bool | None = None,
    ) -> Path:
        """Write a row for each group of a level, without Monte Carlo error, to a Parquet file.

        Groups are worked on and written some at a time, so that a million take little more memory
        than their statistics.  The file is written atomically.

        Columns are the labels of the group and of what it is in, as they stand in the data
        (integers, else text); ``n``, its number of rows, and ``raw_mean``, their mean outcome,
        weighted with ``1/se²`` where standard errors are known (of counts ``raw_proportion`` or
        ``raw_rate``, and ``raw_size``, the trials or the exposure; of crossed groups
        ``raw_deviation``, the mean of what all else leaves of the rows); where groups have several
        effects ``effect``, the name of one, with a row for each; then those of
        ``reference().summary()``: ``mean``, ``sd``, ``median``, ``eti89_lb``, ``eti89_ub``.  A
        moment that does not exist is nan.  A column of labels keeps its name; of the others one
        with the same name gets a ``_``.  Model, priors, certificate and version are in the file's
        metadata, as JSON under the key ``hiermodels``.

        Parameters
        ----------
        path : str or path
            A file that is there already is replaced, in one step, at the end.
        level : str, optional
            Column of the groups, or the variable of their effects (``theta``, ``mu``; ``p`` or
            ``rate``); the innermost by default.
        ci_prob : float
            Probability of the equal-tailed interval.
        at : {"auto", "means", "own", "zero"} or mapping of str to value
            Values of the covariates that effects are shown at, as in :meth:`summary`.
        row_group_size : int
            Groups that are worked on at a time.
        progressbar : bool, optional
            Whether to show progress; by default on a terminal.

        Returns
        -------
        Path
            Of the file.

        Raises
        ------
        SpecError
            If there is no such level, or an option is wrong.
        DataError
            If the file cannot be written, or pyarrow is missing (``pip install
            'hiermodels[parquet]'``); what was there before is as it was.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import hiermodels as hm
        >>> import pandas as pd
        >>> fit = hm.fit(hm.datasets.load_pastes(), groups=["batch", "cask"], random_seed=1)
        outcome = strength, groups = batch/cask (outcome inferred)
        >>> with TemporaryDirectory() as folder:
        ...     path = fit.to_parquet(Path(folder) / "casks.parquet")
        ...     table = pd.read_parquet(path)
        >>> table.iloc[:2, :6].round(2)
          batch cask  n  raw_mean   mean    sd
        0     A    a  2      62.7  62.64  0.59
        1     A    b  2      61.2  61.20  0.59
        """
        from hiermodels.io.parquet import write_parquet

        count("row_group_size", row_group_size)
        return write_parquet(
            self.posterior,
            self.reference(),
            path,
            level,
            ci_prob=ci_prob,
            at=at,
            row_group_size=row_group_size,
            progressbar=progressbar,
        )

    def to_zarr(self, folder: str | os.PathLike[str], *, progressbar: bool | None = None) -> Path:
        """Write ``datatree`` atomically as a Zarr store, with the draws of all groups.

        Draws that were not kept, being too many for the memory, are made and written some groups
        at a time: the same, bit for bit, as :meth:`draws` makes.  They are read lazily with
        ``xarray.open_datatree(folder, engine="zarr")``: only those of the groups that are
        selected, in chunks of all draws of some groups.

        Parameters
        ----------
        folder : str or path
            A store that was written here is replaced, at the end; another folder that is not
            empty is left alone.
        progressbar : bool, optional
            Whether to show progress; by default on a terminal.

        Returns
        -------
        Path
            Of the folder.

        Raises
        ------
        SpecError
            If a column's name cannot be that of a folder.
        DataError
            If the store cannot be written, or zarr is missing (``pip install
            'hiermodels[zarr]'``); what was there before is as it was.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import hiermodels as hm
        >>> import xarray as xr
        >>> schools = hm.datasets.load_eight_schools()
        >>> fit = hm.fit(schools, random_seed=1, memory_budget=0)
        outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
        >>> with TemporaryDirectory() as folder:
        ...     path = fit.to_zarr(Path(folder) / "schools.zarr")
        ...     with xr.open_datatree(path, engine="zarr") as tree:
        ...         theta = tree["posterior"]["theta"].sel(school=["A"]).load()
        >>> theta.equals(fit.draws(["A"]))
        True
        """
        from hiermodels.io.zarr import write_zarr

        return write_zarr(self.posterior, folder, progressbar)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        source: str | os.PathLike[str] | None = None,
        title: str | None = None,
        sensitivity: bool | None = None,
        progress: Callable[[str], object] | None = None,
    ) -> Path:
        """Write atomically a page that says all there is to say of the fit.

        One file in HTML, to read on any screen or on paper, which loads nothing and runs nothing:
        model, priors, data, certificate of the draws; tables and pictures of every level;
        predictions, units left out, predictive checks, sensitivity to the priors; and the code that
        makes the same fit again.
        The same fit gives the same page.

        Parameters
        ----------
        path : str or path
            A file that is there already is replaced, in one step, at the end.
        source : str or path, optional
            File that the data were read from, ``.csv`` or ``.parquet``, for the code to read.
        title : str, optional
        sensitivity : bool, optional
            Whether to compare the posterior with those under other priors.  By default where
            that takes a few seconds at the most.
        progress : callable, optional
            Is given the title of each section before it is made.

        Returns
        -------
        Path
            Of the file.

        Raises
        ------
        DataError
            If the file cannot be written; what was there before is as it was.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import hiermodels as hm
        >>> one = hm.fit(hm.datasets.load_dyestuff(), groups=[], random_seed=1)
        outcome = yield_ (outcome inferred)
        >>> with TemporaryDirectory() as folder:
        ...     page = one.report(Path(folder) / "report.html").read_text(encoding="utf-8")
        >>> page.startswith("<!DOCTYPE html>")
        True
        """
        from hiermodels.results.report.write import write

        return write(
            self.posterior,
            self.reference,
            path,
            source=None if source is None else os.fspath(source),
            title=title,
            sensitivity=sensitivity,
            progress=progress,
        )
