"""Bayesian normal hierarchical models: exact posteriors, PyMC models, and their comparison.

>>> import hiermodels as hm
>>> fit = hm.fit(hm.datasets.load_baseball()[["player", "y", "sigma"]])
outcome = y, groups = player, se = sigma (se, outcome, groups inferred)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hiermodels import datasets, lecture
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
from hiermodels.families.binomial import Binomial
from hiermodels.families.negative_binomial import NegativeBinomial
from hiermodels.families.odds_ratio import OddsRatio
from hiermodels.families.poisson import Poisson
from hiermodels.families.student_t import StudentT
from hiermodels.model.priors.base import Prior, VariancePrior
from hiermodels.model.priors.coefficients import CoefficientPrior, Flat, Normal, NormalInverseGamma
from hiermodels.model.priors.covariance import LKJ, FlatCovariance
from hiermodels.model.priors.variance import (
    Exponential,
    Fixed,
    FlatSD,
    FlatVariance,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    Jeffreys,
    Uniform,
)
from hiermodels.model.spec import Spec

if TYPE_CHECKING:
    from hiermodels.api.calibrating import calibrate
    from hiermodels.api.comparing import compare
    from hiermodels.api.fitting import fit
    from hiermodels.api.loading import load, load_statistics
    from hiermodels.api.noise_free import reference
    from hiermodels.api.prior_sensitivity import sensitivity
    from hiermodels.api.pymc_models import build_model, normal_inverse_gamma, three_level, two_level
    from hiermodels.api.result import Fit
    from hiermodels.data.grouped import GroupedData
    from hiermodels.data.statistics import SufficientStatistics
    from hiermodels.mcmc.convergence import ConvergenceWarning
    from hiermodels.posterior.reference_posterior import ReferencePosterior
    from hiermodels.posterior.tables import Summary
    from hiermodels.results.alternatives import Sensitivity
    from hiermodels.results.calibration import Calibration
    from hiermodels.results.comparison import Comparison
    from hiermodels.results.prediction import Prediction
    from hiermodels.results.ranking import Ranking
    from hiermodels.results.shrinkage import Estimates

__version__ = "0.1.0"

__all__ = [
    "LKJ",
    "Binomial",
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
    "FlatCovariance",
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
    "NegativeBinomial",
    "Normal",
    "NormalInverseGamma",
    "OddsRatio",
    "Poisson",
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
    "StudentT",
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
    "plots",
    "reference",
    "sensitivity",
    "three_level",
    "two_level",
]

# A program that only states a prior or reads a data set needs no engine, and PyMC and matplotlib
# take seconds to import: what computes is loaded when it is first asked for.
_LOADED_LATER = {
    "Calibration": "hiermodels.results.calibration",
    "Comparison": "hiermodels.results.comparison",
    "ConvergenceWarning": "hiermodels.mcmc.convergence",
    "Estimates": "hiermodels.results.shrinkage",
    "Fit": "hiermodels.api.result",
    "GroupedData": "hiermodels.data.grouped",
    "Prediction": "hiermodels.results.prediction",
    "Ranking": "hiermodels.results.ranking",
    "ReferencePosterior": "hiermodels.posterior.reference_posterior",
    "Sensitivity": "hiermodels.results.alternatives",
    "SufficientStatistics": "hiermodels.data.statistics",
    "Summary": "hiermodels.posterior.tables",
    "build_model": "hiermodels.api.pymc_models",
    "calibrate": "hiermodels.api.calibrating",
    "compare": "hiermodels.api.comparing",
    "fit": "hiermodels.api.fitting",
    "load": "hiermodels.api.loading",
    "load_statistics": "hiermodels.api.loading",
    "normal_inverse_gamma": "hiermodels.api.pymc_models",
    "reference": "hiermodels.api.noise_free",
    "sensitivity": "hiermodels.api.prior_sensitivity",
    "three_level": "hiermodels.api.pymc_models",
    "two_level": "hiermodels.api.pymc_models",
}


def __getattr__(name: str) -> Any:
    """Load what computes, or the pictures, and keep it."""
    if name == "plots":
        return import_module("hiermodels.plots")
    if name in _LOADED_LATER:
        globals()[name] = getattr(import_module(_LOADED_LATER[name]), name)
        return globals()[name]
    raise AttributeError(f"module 'hiermodels' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is public, loaded or not, and none of the modules behind it."""
    return [*__all__, "__version__"]
