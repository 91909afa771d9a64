"""How to make the same fit again: in Python, and on the command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from hiermodels.data.varying import varying_terms
from hiermodels.errors import SpecError
from hiermodels.families.family import Family
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.families.registry import NORMAL, family_of
from hiermodels.model.formula.columns import COUNT_ROLES
from hiermodels.model.formula.parse import Formula
from hiermodels.model.formula.terms import factors
from hiermodels.model.priors.base import Prior
from hiermodels.model.priors.registry import PRIORS
from hiermodels.model.sampling import MATRIX
from hiermodels.model.spec import Spec
from hiermodels.model.standard_errors import error_role
from hiermodels.posterior.record import Posterior

READERS = {".csv": "read_csv", ".parquet": "read_parquet"}
OPTIONS = ("parameterization", "observed", "nuts_sampler", "tune", "target_accept")  # on record
UNKNOWN = "df = ...  # the data frame that was fitted, with the columns {}"
UNKNOWN_V = "V = ...  # the covariance matrix of the rows' errors"


def snippet(posterior: Posterior, source: str | None = None) -> str:
    """Python that makes the same fit: the same posterior, and with a seed the same draws.

    Parameters
    ----------
    posterior : Posterior
    source : str, optional
        File that the data were read from, ``.csv`` or ``.parquet``.

    Examples
    --------
    >>> import hiermodels as hm
    >>> from hiermodels.results.report.recipe import snippet
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> print(snippet(fit.posterior, "schools.csv"))
    import hiermodels as hm
    import pandas as pd
    <BLANKLINE>
    df = pd.read_csv('schools.csv')
    fit = hm.fit(
        df,
        'y ~ (1 | school)',
        se='sigma',
        priors={
            'mu': hm.Flat(),
            'tau': hm.FlatVariance(),
        },
        random_seed=1,
    )
    """
    reader = _reader(source)
    if reader:
        lines = ["import hiermodels as hm", "import pandas as pd", ""]
        lines.append(f"df = pd.{reader}({source!r})")
    else:
        columns = ", ".join(map(repr, _columns(posterior)))
        lines = ["import hiermodels as hm", "", UNKNOWN.format(columns)]
    lines += [UNKNOWN_V] if posterior.spec.sampling == MATRIX else []
    priors = [f"{name!r}: {_written(prior)}," for name, prior in posterior.spec.priors.items()]
    arguments = [
        *_model(posterior),
        "\n        ".join(["priors={", *priors]) + "\n    }",
        *_others(posterior),
    ]
    return "\n".join([*lines, "fit = hm.fit(", "    df,", *(f"    {a}," for a in arguments), ")"])


def command(posterior: Posterior, source: str | None = None) -> str | None:
    """Line for a shell that makes the same fit, or None if there is none that does.

    There is none for priors of classes of the user's own, for families with parameters and for
    columns that no formula can name.
    Options of a sampler are at their defaults.

    Parameters
    ----------
    posterior : Posterior
    source : str, optional
        File that the data were read from.
    """
    spec, data = posterior.spec, posterior.data
    formula = _formula(posterior)
    family = _family(spec)
    needs_python = family is not None and bool(fields(family))  # type: ignore[arg-type]
    if formula is None or needs_python or not all(map(_is_own, spec.priors.values())):
        return None
    words = ["hiermodels", "fit", source or "FILE.csv", "--formula", formula]
    words += [f"--{error_role(spec.se_scale)}", spec.se] if spec.se else []
    words += _correlated_words(spec)
    for role, column in _beside_formula(spec).items():
        words += [f"--{role.replace('_', '-')}", column]
    words += ["--no-se"] if _declines_errors(posterior) else []
    words += ["--family", family.name] if family is not None else []
    for name, prior in spec.priors.items():
        words += ["--prior", f"{name}={_written(prior, module='')}"]
    words += ["--missing", "drop"] if data.dropped else []
    words += ["--engine", posterior.engine] if posterior.engine != "exact" else []
    sizes, seed = _sizes(posterior), random_seed(posterior)
    words += [part for name, size in sizes.items() for part in (f"--{name}", str(size))]
    words += [] if seed is None else ["--seed", str(seed)]
    return shlex.join(words)


def _correlated_words(spec: Spec) -> list[str]:
    """Arguments of the command line that say how errors are correlated."""
    if spec.sampling is None:
        return []
    if spec.sampling == MATRIX:
        return ["--covariance", "V.csv"]
    return ["--sampling-correlation", repr(spec.sampling)]


def random_seed(posterior: Posterior) -> int | None:
    """Seed of the draws, if it was a number."""
    seed = _record(posterior).get("random_seed")
    return None if seed is None else int(seed)


def _reader(source: str | None) -> str | None:
    """Function of pandas that reads a file."""
    return next((READERS[end] for end in READERS if source and source.endswith(end)), None)


def _record(posterior: Posterior) -> Mapping[Any, Any]:
    return posterior.datatree["posterior"].attrs


def _formula(posterior: Posterior) -> str | None:
    """The model as a formula, if a formula can name its columns."""
    spec = posterior.spec
    try:
        design = posterior.data.design
        beside = _beside_formula(spec)
        columns = {role: name for role, name in spec.columns.items() if role not in beside}
        varying = varying_terms(spec.varying, design)
        known = (spec.outcome, design.terms, spec.groups, spec.has_intercept, columns)
        return str(Formula(*known, varying, spec.nesting))
    except SpecError:
        return None


def _beside_formula(spec: Spec) -> dict[str, str]:
    """Columns that a formula has no place for, by their arguments."""
    return {role: name for role, name in spec.columns.items() if role in (WEIGHTS, STRATA)}


def _columns(posterior: Posterior) -> list[str]:
    spec, terms = posterior.spec, posterior.data.design.terms
    own = (spec.outcome, *spec.columns.values(), *spec.groups, *([spec.se] if spec.se else []))
    return list(dict.fromkeys([*own, *Formula(spec.outcome, terms, spec.groups).columns]))


def _model(posterior: Posterior) -> list[str]:
    """Arguments that say which column is what.

    Columns that no formula can name came as arguments, and with them no interactions.
    """
    spec, terms = posterior.spec, posterior.data.design.terms
    formula = _formula(posterior)
    if formula is not None:
        beside = _beside_formula(spec).items()
        arguments = [repr(formula), *(f"{role}={name!r}" for role, name in beside)]
    else:
        covariates = [factor.column for term in terms for factor in factors(term)]
        arguments = [f"outcome={spec.outcome!r}", f"groups={list(spec.groups)!r}"]
        arguments += [f"covariates={covariates!r}"] if covariates else []
        arguments += [f"{role}={column!r}" for role, column in spec.columns.items()]
    arguments += [f"{error_role(spec.se_scale)}={spec.se!r}"] if spec.se else []
    if spec.sampling is not None:
        matrix = "covariance=V"
        own = f"sampling_correlation={spec.sampling!r}"
        arguments += [matrix if spec.sampling == MATRIX else own]
    arguments += ["se=False"] if _declines_errors(posterior) else []
    family = _family(spec)
    return [*arguments, *([f"family={_written_family(family)}"] if family is not None else [])]


def _declines_errors(posterior: Posterior) -> bool:
    """Whether known errors would be inferred unless that is forbidden."""
    return posterior.spec.has_sigma and posterior.data.roles.declined


def _family(spec: Spec) -> Family | None:
    """The family of the rows, if it has to be said: if it is not the one that columns tell."""
    told = [family_of(name) for role, name in COUNT_ROLES.items() if role in spec.columns]
    return None if spec.family == (told or [NORMAL])[0] else spec.family


def _written_family(family: Family) -> str:
    """A family as it is written in Python: by its name, unless it has parameters."""
    has_parameters = bool(fields(family))  # type: ignore[arg-type]
    return f"hm.{family!r}" if has_parameters else repr(family.name)


def _others(posterior: Posterior) -> list[str]:
    """Arguments beside the model and its priors."""
    record, seed = _record(posterior), random_seed(posterior)
    arguments = {"missing": "drop"} if posterior.data.dropped else {}
    options: dict[str, Any] = dict(arguments)
    if posterior.engine != "exact":
        options["engine"] = posterior.engine
    options |= {name: _option(record[name]) for name in OPTIONS if name in record}
    options |= _sizes(posterior)
    options |= {} if seed is None else {"random_seed": seed}
    return [f"{name}={value!r}" for name, value in options.items()]


def _sizes(posterior: Posterior) -> dict[str, int]:
    """Numbers of draws and chains that are not the defaults."""
    sizes, usual = posterior.datatree["posterior"].sizes, {"draws": 1000, "chains": 4}
    given = {name: int(sizes[name.removesuffix("s")]) for name in usual}
    return {name: size for name, size in given.items() if size != usual[name]}


def _is_own(prior: Prior) -> bool:
    """Whether it is one of this package's."""
    return PRIORS.get(type(prior).__name__) is type(prior)


def _written(prior: Prior, module: str = "hm.") -> str:
    """A prior as it is written in Python, to the last digit."""
    if not _is_own(prior):
        return f"{prior!r}"
    values = [f"{f.name}={_plain(getattr(prior, f.name))!r}" for f in fields(prior)]  # type: ignore[arg-type]
    return f"{module}{type(prior).__name__}({', '.join(values)})"


def _option(value: Any) -> Any:
    """An option from its record; ``"theta centered, mu noncentered"`` is a form for each level."""
    if isinstance(value, str) and " " in value:
        return dict(part.split(" ") for part in value.split(", "))
    return _plain(value)


def _plain(value: Any) -> Any:
    """A number of Python rather than of NumPy, which is written otherwise."""
    return value.item() if isinstance(value, np.generic) else value
