"""What every family of rows is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats

type Columns = Mapping[str, Floats]


class Family(Protocol):
    """The distribution of a row's outcome y, given its linear predictor η and its columns.

    A family is a frozen dataclass.  What else belongs to a row, such as its standard deviation or
    its number of trials, stands in its columns: arrays, by name, of shapes that broadcast with η.
    Nothing that calls these methods asks which family it is.

    Attributes
    ----------
    name : str
        By which it is registered.
    columns : tuple of str
        What each row has beside its outcome and η.
    defaults : mapping of str to float
        Of those columns that need not be given: what each row has then.
    link : str
        Name of the function that leads from the outcome's scale to that of η.
    effect : str or None
        Name of a group's effect on the outcome's scale, such as ``"p"``; None where that is the
        scale of η, or where no single number is there.
    is_discrete : bool
        Whether outcomes are counts.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    defaults: ClassVar[Mapping[str, float]]
    link: ClassVar[str]
    effect: ClassVar[str | None]
    is_discrete: ClassVar[bool]

    def inverse_link(self, eta: Floats) -> Floats:
        """From linear predictors to the outcome's scale, of the same shape."""

    def invalid(self, y: Floats, columns: Columns) -> Iterator[tuple[str, NDArray[np.bool_], str]]:
        """Yield what may be wrong with rows, whether it is or not.

        Each time: the column's name, or ``"outcome"``; which rows (N,) are wrong; and what was
        expected, in words.  Of columns those that are given are checked.
        """

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """The distribution in words, given the linear predictor's and the columns' names."""

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """Log density of each row, or log probability, with all constants.

        Parameters
        ----------
        y : (N,)
        eta : (..., N) or (..., 1)
            Linear predictors, on the scale of the link.
        columns : mapping of str to array

        Returns
        -------
        (..., N)
        """

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw an outcome for each η, independently; of the shape of η, (..., N)."""

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Floats, dims: str
    ) -> Any:
        """Add the rows to the open PyMC model.

        Parameters
        ----------
        pm : module
            ``pymc``, which takes seconds to import: it comes in.
        name : str
            Of the variable: the outcome's.
        eta : (N,) or scalar
            A variable of the model, as the columns may be.
        columns : mapping of str to array
        observed : (N,)
        dims : str
            Name of the rows' dimension.
        """
