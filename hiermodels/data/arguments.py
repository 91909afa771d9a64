"""Arguments that say which model it is: listed once, for all functions that take them."""

from __future__ import annotations

from hiermodels.core.arguments import checked_with
from hiermodels.data.read_rows import Missing
from hiermodels.model.formula.columns import ColumnNames
from hiermodels.model.priors.base import Priors


class ModelArguments(ColumnNames, total=False):
    """What is said of a model beside the data and a formula: see :func:`hiermodels.fit`."""

    priors: Priors
    missing: Missing


takes_columns = checked_with(ColumnNames)
takes_model = checked_with(ModelArguments, missing="error")
