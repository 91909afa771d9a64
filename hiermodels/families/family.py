"""What every family of rows is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.families.checks import Invalid
from hiermodels.families.leaves import Leaves

type Columns = Mapping[str, Floats]
type Link = Literal["identity", "log", "logit"]


class Family(Protocol):
    """The distribution of a row's outcome y, given its linear predictor η and its columns.

    A family is a frozen dataclass, whose fields are parameters that all rows share.  What else
    belongs to a row, such as its standard deviation or its number of trials, stands in its columns:
    arrays, by name, of shapes that broadcast with η; those of counts are (N,) or (1,).
    Nothing that calls these methods asks which family it is.

    Attributes
    ----------
    name : str
        By which it is registered.
    columns : tuple of str
        What each row has beside its outcome and η.
    defaults : mapping of str to float
        Of those columns that need not be given: what each row has then.
    additive : tuple of str
        Columns that add up where counts of rows with one η are added: the total has the same
        distribution as a row.  None where it has not.
    link : {"identity", "log", "logit"}
        The function that makes η of what an effect is on the outcome's scale.
    effect : str or None
        Name of an effect on the outcome's scale, ``inverse_link(θ)``; None if it is shown on the
        scale of the link alone.
    is_discrete : bool
        Whether outcomes are counts.
    raw_word : str
        What :meth:`raw` makes of rows, such as ``"proportion"``.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    defaults: ClassVar[Mapping[str, float]]
    additive: ClassVar[tuple[str, ...]]
    link: ClassVar[Link]
    effect: ClassVar[str | None]
    is_discrete: ClassVar[bool]
    raw_word: ClassVar[str]

    def inverse_link(self, eta: Floats) -> Floats:
        """What η is on the outcome's scale, such as a probability or a rate; any shape."""

    def invalid(self, y: Floats, columns: Columns) -> Iterator[Invalid]:
        """Which rows have values that the family cannot take, column by column.

        Parameters
        ----------
        y : (N,)
        columns : mapping of str to array
            (N,) or (1,) each.  A standard deviation that is not known is not among them.
        """

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """The distribution in words, given the linear predictor's and the columns' names.

        Columns that have their default need no name.
        """

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

    def moments(self, eta: Floats, columns: Columns) -> tuple[Floats, Floats]:
        """Mean and variance of an outcome given each η, of any shape; infinite if there is none."""

    def cdf(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """Probability that an outcome given η is at most y, which falls as η rises.

        All arguments broadcast with one another.
        """

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw an outcome for each η, independently; of the shape of η, (..., N)."""

    def raw(self, y: Floats, columns: Columns, offset: Floats) -> tuple[Floats, Floats]:
        """What each row says of its effect by itself, as a part of sums over rows.

        Over any rows of one effect, the sum of the first divided by that of the second is their raw
        estimate: on the outcome's scale if the family has an ``effect``, else on the link's.  The
        second is its size, 0 for a row that says nothing.

        Parameters
        ----------
        y : (..., N)
        columns : mapping of str to array
            (N,) or (1,) each.
        offset : (N,)
            On the scale of the link.

        Returns
        -------
        total : (..., N)
        size : (..., N) or (N,)
        """

    def support(self, columns: Columns) -> tuple[Floats, Floats]:
        """Smallest and largest possible outcome, for columns of any shape; ±∞ if there is none."""

    def leaves(
        self, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> Leaves:
        """What all rows of each group say of its one effect θ, as each has ``η = θ + offset``.

        Parameters
        ----------
        y : (N,)
        columns : mapping of str to array
            (N,) or (1,) each.
        offset : (N,)
            On the scale of the link.
        group : (N,)
            Of each row, from 0 to ``size − 1``; each has a row.
        size : int
            Number of groups.
        """

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Any, dims: str
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
            An array, or data of the model that can be exchanged.
        dims : str
            Name of the rows' dimension.
        """


@runtime_checkable
class NamesColumns(Protocol):
    """A family whose own fields name columns of the data, of which its columns are made."""

    @property
    def data_columns(self) -> Mapping[str, str]:
        """Names of columns of the data by what they are, beside those that ``fit`` is told."""

    def from_data(self, y: Floats, columns: Columns) -> Columns:
        """The columns that the family takes, from the outcome and columns of the data."""
