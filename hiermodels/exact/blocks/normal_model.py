"""What the integral over σ, coordinates and lattices ask of a model of normal rows and effects."""

from __future__ import annotations

from typing import Protocol, Self

from hiermodels.core.arrays import Floats
from hiermodels.model.priors.base import VariancePrior


class NormalModel(Protocol):
    """Normal rows, with normal effects of unknown sds τ.

    Beside what :class:`~hiermodels.exact.blocks.model.BlockModel` says of its attributes of the
    same names:
    """

    @property
    def n_rows(self) -> int:
        """Number of rows."""

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients, c."""

    @property
    def log_weight(self) -> float:
        """``Σ log ω`` of the rows."""

    @property
    def sd_priors(self) -> tuple[VariancePrior, ...]:
        """Prior of each sd τ."""

    @property
    def sigma(self) -> VariancePrior:
        """Prior of σ."""

    @property
    def mean(self) -> Floats:
        """Means of the coefficients' normal priors; (c,)."""

    @property
    def precision(self) -> Floats:
        """Precisions of these; (c,)."""

    @property
    def flat_coefficients(self) -> bool:
        """Whether all coefficients have flat priors."""

    @property
    def relative(self) -> bool:
        """Whether sds are taken in units of σ, which is then integrated by itself."""

    def with_sigma_on_lattice(self) -> Self:
        """The same model, whose σ is not integrated."""

    @property
    def typical_sigma(self) -> float:
        """About the residual sd."""
