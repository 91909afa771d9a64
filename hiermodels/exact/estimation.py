"""Names of estimators, and what an estimate is."""

from __future__ import annotations

from dataclasses import dataclass, field

from hiermodels.core.arrays import Floats

LIKELIHOOD = {"reml": "restricted maximum likelihood", "ml": "maximum likelihood"}
MOMENTS = {
    "dl": "DerSimonian–Laird",
    "pm": "Paule–Mandel",
    "he": "Hedges",
    "eb": "empirical Bayes",
    "sj": "Sidik–Jonkman",
}
METHODS = LIKELIHOOD | MOMENTS


@dataclass(frozen=True)
class PointEstimate:
    """Estimates of the sds, and what to say of them.

    Attributes
    ----------
    sds : dict of str to float
        In the outcome's unit; NaN where the data do not determine an sd.
    sums : dict of str to float
        What they determine in its place, such as ``{"tau² + sigma²": 2.5}``.
    notes : tuple of str
        How they were estimated, and what could not be.
    points : (m, d)
        Sds at which estimates of all else may be taken.  Where the sds are not determined there
        are two that the data cannot tell apart: what differs between them is not determined.
    """

    sds: dict[str, float]
    points: Floats
    sums: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
