"""Which column is what: as was said, or by names and types; and what names give away."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

from hiermodels.core.codec import storable
from hiermodels.core.messages import listed, printable
from hiermodels.data.known_columns import Columns
from hiermodels.data.readings import as_code, readings_of_counts, readings_of_labels
from hiermodels.errors import DataError, DataWarning, SpecError, warn
from hiermodels.families.family import Family, NamesColumns
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.families.registry import NORMAL
from hiermodels.model.crossing import require_nesting
from hiermodels.model.family_columns import require_suited
from hiermodels.model.formula.columns import Stated, column_names, require_name
from hiermodels.model.level import Varying
from hiermodels.model.nests import Nesting, describe_groups
from hiermodels.model.sampling import (
    MATRIX,
    Sampling,
    require_sampling,
    sampling_text,
    stated_sampling,
)
from hiermodels.model.standard_errors import KINDS, Scale, error_role

type Meaning = Literal["se", "variance", "weights"]

OUTCOME_NAMES = ("y", "yi")
ERROR_NAMES: dict[str, Scale] = {  # of columns that are taken for known errors, unless told
    **dict.fromkeys(("sigma", "se", "std_err", "sei"), "sd"),
    "vi": "variance",
}
# Words in names of columns, and whole names without what stands between their words.
VARIANCE_WORDS = {"vi", "var", "vars", "variance", "variances", "sigma2", "se2", "sei2", "sd2"}
SQUARE_WORDS = {"sq", "squared", "square"}
SE_WORDS = {"se", "sei", "sigma", "stderr", "stderror", "err", "error", "errors", "sd", "std"}
VARIANCE_NAMES = {"v", "vi", "var", "variance", "variances", "samplingvariance", "sigma2", "se2"}
SE_NAMES = {"sigma", "se", "sei", "stderr", "stderror", "standarderror", "standarderrors"}
WEIGHT_NAMES = {"weight", "weights"}


@storable
@dataclass(frozen=True)
class Roles:
    """Which column is what.

    Attributes
    ----------
    outcome : str
    groups : tuple of str
        From the outermost to the innermost level.
    se : str or None
        Column that says the known standard errors of the rows.
    inferred : tuple of str
        The roles that were not given but inferred.
    se_scale : {"sd", "variance"}
        Whether that column holds standard errors or their squares, variances.
    unused : tuple of str
        Columns without a role whose names are those of standard errors, variances or weights.
    family : Family
        Distribution of the rows.
    columns : mapping of str to str
        Columns that it needs beside the outcome, by what they are to it, such as ``trials``; and
        ``offset``.
    varying : tuple of Varying
        Terms that vary between the groups of each level; empty where all are intercepts.
    sampling : float or "matrix", optional
        How known errors are correlated, as :class:`Spec` has it.
    nesting : tuple of int
        Which column of crossed groups lies in which, likewise.
    as_crossed : tuple of str
        The groups as a formula has them that crosses them, where in the data they are nested.
    """

    outcome: str
    groups: tuple[str, ...]
    se: str | None
    inferred: tuple[str, ...] = ()
    se_scale: Scale = "sd"
    unused: tuple[str, ...] = ()
    family: Family = NORMAL
    columns: Mapping[str, str] = field(default_factory=dict)
    varying: tuple[Varying, ...] = ()
    sampling: Sampling | None = None
    nesting: Nesting = ()
    as_crossed: tuple[str, ...] = ()

    @property
    def is_weighted(self) -> bool:
        """Whether rows have known errors, or weights."""
        return self.se is not None or self.sampling is not None or WEIGHTS in self.columns

    @property
    def errors_column(self) -> str | None:
        """Column of the errors of rows to predict: ``se`` where these rows' are in a matrix."""
        return "se" if self.sampling == MATRIX else self.se

    @property
    def se_role(self) -> str:
        """Name of the argument that names the column of the known errors."""
        return error_role(self.se_scale)

    @property
    def declined(self) -> bool:
        """Whether known errors would have been inferred, and ``se=False`` forbade it."""
        known = self.se is not None or self.sampling is not None
        return not known and any(name in ERROR_NAMES for name in self.unused)

    def announce(self) -> None:
        """Print the roles, if any was inferred, or if a column seems to have been forgotten."""
        notes = [f"{', '.join(self.inferred)} inferred"] if self.inferred else []
        known = self.se is not None or self.sampling is not None
        if self.inferred or not (known or self.declined):
            notes += self._forgotten()
        if notes:
            print(printable(f"{self} ({'; '.join(notes)})"))

    def _forgotten(self) -> list[str]:
        """What to say of unused columns."""
        if not self.unused:
            return []
        notes = [f"not used: {listed(self.unused)}"]
        errors = [name for name in self.unused if name_says(name) in ("se", "variance")]
        may_be_known = "sd" in self.family.columns and not self.declined
        if self.se is None and self.sampling is None and errors and may_be_known:
            argument = f"{name_says(errors[0])}={errors[0]!r}"
            notes.append(f"if the errors of the rows are known, say {argument}")
        return notes

    def __str__(self) -> str:
        columns: dict[str, str | None] = {"outcome": self.outcome, **self.columns}
        columns |= {"groups": describe_groups(self.groups, self.nesting), self.se_role: self.se}
        if self.sampling is not None:
            columns["covariance"] = sampling_text(self.sampling, self.groups)
        return ", ".join(f"{role} = {column}" for role, column in columns.items() if column)


def name_says(name: Any) -> Meaning | None:
    """What a column's name, as a whole, says that it holds."""
    whole = "".join(_words(name))
    if whole in VARIANCE_NAMES:
        return "variance"
    if whole in SE_NAMES:
        return "se"
    return "weights" if whole in WEIGHT_NAMES else None


def name_contradicts(name: str, scale: Scale) -> bool:
    """Whether a column's name says that it holds errors on the other scale."""
    words, whole = set(_words(name)), name_says(name)
    squared = bool(words & SQUARE_WORDS)
    is_variance = squared or whole == "variance" or bool(words & VARIANCE_WORDS)
    is_se = not squared and (whole == "se" or bool(words & SE_WORDS))
    return is_se < is_variance if scale == "sd" else is_variance < is_se


def _words(name: Any) -> list[str]:
    """Words of a name in small letters: those of ``std_err``, ``Std.Err`` and ``stdErr`` alike."""
    if not isinstance(name, str):
        return []
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    text = re.sub(r"(?<=[^\W\d_])\W*\^\W*2\b", "2", text)
    return re.findall(r"[^\W_]+", text.casefold())


def infer_roles(frame: Columns, said: Stated, covariates: Sequence[str]) -> Roles:
    """Find the roles that were not given; where two readings are possible, refuse.

    The standard errors are the column ``sigma``, ``se``, ``std_err`` or ``sei``, or the variances
    ``vi``, unless ``se`` is False; the outcome is the column ``y`` or ``yi``, or else the only
    continuous one left; the groups are the label columns (text or categories), ordered by nesting.
    Covariates are columns here, not terms.

    Warns
    -----
    DataWarning
        Where the name of a column that was given says that it holds errors on the other scale.
    """
    outcome, se, variance = said.outcome, said.se, said.variance
    family = said.family or NORMAL
    if se is None and variance is None and "sd" not in family.columns:
        se = False
    given = column_names("groups", said.groups)
    if se is not None and variance is not None:
        raise SpecError(
            f"se and variance: expected one of them at most; found se={se!r} and "
            f"variance={variance!r}. Give the column of standard errors, or that of their squares"
        )
    sampling = stated_sampling(said)
    if sampling == "matrix":
        se = False
    errors, scale = _given_errors(se, variance)
    for role, name in (("outcome", outcome), (error_role(scale), errors)):
        if name is not None:
            require_name(role, name)
    columns = {**said.columns, **(family.data_columns if isinstance(family, NamesColumns) else {})}
    taken = _taken(frame, (outcome, *given, errors), columns, covariates, given)
    if outcome is None or said.groups is None:
        _require_text(frame.columns)
    if errors is not None:
        _check_name(errors, scale)
    inferred = []
    if errors is None and se is not False:
        errors = _infer_errors(frame, taken)
        if errors is not None:
            scale = ERROR_NAMES[errors]
            taken.add(errors)
            inferred.append(error_role(scale))
    if outcome is None:
        outcome = _infer_outcome(frame, taken, family)
        taken.add(outcome)
        inferred.append("outcome")
    if said.groups is None:
        given = _infer_groups(frame, taken, outcome)
        inferred.append("groups")
    require_suited(family, columns, given, said.nesting, scale, errors)
    require_sampling(sampling, family, columns, given, errors)
    require_nesting(said.nesting, given, said.varying, family, columns, sampling)
    unused = (name for name in frame.columns if name_says(name) and name not in {*taken, *given})
    roles = Roles(outcome, tuple(given), errors, tuple(inferred), scale, tuple(unused))
    roles = replace(roles, family=family, columns=columns, varying=said.varying)
    return replace(roles, sampling=sampling, nesting=said.nesting)


def _taken(
    frame: Columns,
    named: Sequence[str | None],
    columns: Mapping[str, str],
    covariates: Sequence[str],
    groups: Sequence[str],
) -> set[str]:
    """Columns with a role, which must be there and have one only; strata may be groups, too."""
    rows = [name for role, name in columns.items() if role != STRATA]
    used = [name for name in (*named, *rows, *covariates) if name is not None]
    strata = [name for role, name in columns.items() if role == STRATA]
    for name in [*used, *strata]:
        frame.require(name)
    used += [name for name in strata if name in used and name not in (*groups, *covariates)]
    twice = [name for name in used if used.count(name) > 1]
    if twice:
        raise DataError(f"column {twice[0]!r} was given more than one role; give each its own")
    return {*used, *strata}


def _given_errors(
    se: str | Literal[False] | None, variance: str | None
) -> tuple[str | None, Scale]:
    """The column of the known errors that was given, if any, and its scale."""
    if variance is not None:
        return variance, "variance"
    return (None if se is False else se), "sd"


def _check_name(name: str, scale: Scale) -> None:
    """Warn where a column seems to hold squares of what it is taken for, or their roots."""
    if not name_contradicts(name, scale):
        return
    other: Scale = "sd" if scale == "variance" else "variance"
    warn(
        f"{error_role(scale)}: column {name!r} is taken for {KINDS[scale]}, and its name is one of "
        f"{KINDS[other]}. If it holds {KINDS[other]}, say {error_role(other)}={name!r}; if not, "
        f"rename it",
        DataWarning,
    )


def _infer_errors(frame: Columns, taken: set[str]) -> str | None:
    """The column that is called as known errors are, if there is one."""
    candidates = [name for name in ERROR_NAMES if name in frame.columns and name not in taken]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    scales = {ERROR_NAMES[name] for name in candidates}
    kinds = " or ".join(KINDS[scale] for scale in KINDS if scale in scales)
    arguments = " or ".join(f"{error_role(scale)}=…" for scale in KINDS if scale in scales)
    raise DataError(f"se: columns {listed(candidates)} may all hold {kinds}; say {arguments}")


def _require_text(columns: Sequence[Any]) -> None:
    """Raise DataError if roles are to be inferred among columns that are not named by text."""
    others = [name for name in columns if not isinstance(name, str)]
    if others:
        raise DataError(
            f"data: expected columns that are named by text; found {listed(others)}. Rename them, "
            f"as with data.rename(columns=str), or say outcome=… and groups=…"
        )


def _infer_outcome(frame: Columns, taken: set[str], family: Family) -> str:
    called = [name for name in OUTCOME_NAMES if name in frame.columns and name not in taken]
    if len(called) == 1:
        return called[0]
    if family.is_discrete:
        raise DataError(
            f"outcome: counts are not inferred among {listed(frame.columns)}. Say outcome=…"
            f"{as_code(readings_of_counts(frame))}"
        )
    candidates = [name for name in frame.columns if name not in taken and frame.is_continuous(name)]
    if called:
        reason = f"both {listed(called)} are there"
    elif len(candidates) == 1:
        (only,) = candidates
        if name_says(only) not in ("se", "variance"):
            return only
        reason = f"the only one left, {only!r}, has the name of known errors"
    else:
        reason = f"several are: {listed(candidates)}" if candidates else "none is"
    raise DataError(
        f"outcome: expected a column 'y' or 'yi', or a single continuous one; {reason}. "
        f"Say outcome=…{as_code([] if candidates else readings_of_counts(frame))}"
    )


def _infer_groups(frame: Columns, taken: set[str], outcome: str) -> list[str]:
    """Order the label columns from the fewest groups to the most, each nested in the one before."""
    candidates = [name for name in frame.columns if name not in taken and frame.is_label(name)]
    if not candidates:
        rest = [name for name in frame.columns if name not in taken]
        raise DataError(
            f"groups: expected a column of labels (text or categories); found none among "
            f"{listed(rest)}. Say groups=[…], from the outer to the inner level"
            f"{frame.nameless_labels()}"
        )
    frame.check_gaps(candidates)
    if len(candidates) == 1:
        return candidates
    codes = {
        name: pd.factorize(np.asarray(frame.strings(name), dtype=object))[0] for name in candidates
    }
    candidates.sort(key=lambda name: codes[name].max())
    for outer, inner in pairwise(candidates):
        pairs = len(np.unique(np.stack([codes[outer], codes[inner]]), axis=1).T)
        if pairs > codes[inner].max() + 1 or codes[outer].max() == codes[inner].max():
            raise DataError(
                f"groups: columns {listed(candidates)} hold labels, and {inner!r} is not nested in "
                f"{outer!r} as it stands. Say groups=[…], from the outer to the inner level, or, "
                f"if they are crossed, write a formula with (1 | {outer}) + (1 | {inner})"
                f"{as_code(readings_of_labels(frame, outcome, candidates))}"
            )
    return candidates


NO_GROUPS = (
    "statistics are of groups: name their columns. For the model without groups, fit the rows"
)
NO_COVARIANCES = (
    "errors that are correlated need rows: statistics of groups know no covariances. Fit the rows "
    "themselves, in a data frame in memory"
)
NO_SLOPES = (
    "these statistics lack what each group says of its slopes: make them anew with "
    "SufficientStatistics.of"
)

NO_CELLS = (
    "these statistics of crossed groups lack which groups each cell is in: make them anew with "
    "SufficientStatistics.of"
)


def refuse_crossed(roles: Roles) -> None:
    """Raise SpecError if groups are crossed: where they have to be one tree."""
    if roles.nesting:
        raise SpecError(
            f"groups: expected groups of one column, or each nested in the one before; found "
            f"crossed groups, {describe_groups(roles.groups, roles.nesting)}"
        )
