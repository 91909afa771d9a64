"""Bayesian normal hierarchical models: exact posteriors, PyMC models, and their comparison.

>>> import hiermodels as hm
>>> fit = hm.fit(hm.datasets.load_baseball()[["player", "y", "sigma"]])
outcome = y, groups = player, se = sigma (se, outcome, groups inferred)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hiermodels import datasets, lecture
from hiermodels.calibration import Calibration, calibrate
from hiermodels.compare import Comparison, compare
from hiermodels.data import GroupedData
from hiermodels.errors import (
    DataError,
    DataWarning,
    HierModelsError,
    ImproperPosteriorError,
    PrecisionError,
    PrecisionWarning,
    PriorWarning,
    SpecError,
)
from hiermodels.estimates import Estimates
from hiermodels.fit import Fit, fit, load, load_statistics
from hiermodels.noise_free import ReferencePosterior
from hiermodels.predict import Prediction
from hiermodels.priors import (
    CoefficientPrior,
    Exponential,
    Fixed,
    Flat,
    FlatSD,
    FlatVariance,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    Jeffreys,
    Normal,
    NormalInverseGamma,
    Prior,
    Uniform,
    VariancePrior,
)
from hiermodels.rank import Ranking
from hiermodels.reference import reference
from hiermodels.sensitivity import Sensitivity, sensitivity
from hiermodels.spec import Spec
from hiermodels.statistics import SufficientStatistics
from hiermodels.tables import Summary

__version__ = "0.1.0"

__all__ = [
    "Calibration",
    "CoefficientPrior",
    "Comparison",
    "ConvergenceWarning",
    "DataError",
    "DataWarning",
    "Estimates",
    "Exponential",
    "Fit",
    "Fixed",
    "Flat",
    "FlatSD",
    "FlatVariance",
    "GroupedData",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "HierModelsError",
    "ImproperPosteriorError",
    "InverseGamma",
    "Jeffreys",
    "Normal",
    "NormalInverseGamma",
    "PrecisionError",
    "PrecisionWarning",
    "Prediction",
    "Prior",
    "PriorWarning",
    "Ranking",
    "ReferencePosterior",
    "Sensitivity",
    "Spec",
    "SpecError",
    "SufficientStatistics",
    "Summary",
    "Uniform",
    "VariancePrior",
    "build_model",
    "calibrate",
    "compare",
    "datasets",
    "fit",
    "lecture",
    "load",
    "load_statistics",
    "normal_inverse_gamma",
    "reference",
    "sensitivity",
    "three_level",
    "two_level",
]

# PyMC takes seconds to import: what needs it is loaded when it is first asked for.
_LOADED_LATER = {
    "ConvergenceWarning": "hiermodels.engines.nuts",
    "build_model": "hiermodels.models",
    "normal_inverse_gamma": "hiermodels.models",
    "three_level": "hiermodels.models",
    "two_level": "hiermodels.models",
}


def __getattr__(name: str) -> Any:
    """Load what needs PyMC."""
    if name in _LOADED_LATER:
        return getattr(import_module(_LOADED_LATER[name]), name)
    raise AttributeError(f"module 'hiermodels' has no attribute {name!r}")
