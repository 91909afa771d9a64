"""All priors by their names, from which the command line and saved fits read."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping

from hiermodels.core.suggestions import did_you_mean
from hiermodels.errors import SpecError
from hiermodels.model.priors import coefficients, covariance, variance
from hiermodels.model.priors.base import Prior

KINDS: tuple[type[Prior], ...] = (
    variance.FlatVariance,
    variance.FlatSD,
    variance.Jeffreys,
    variance.HalfNormal,
    variance.HalfCauchy,
    variance.HalfStudentT,
    variance.Exponential,
    variance.Uniform,
    variance.InverseGamma,
    variance.Fixed,
    coefficients.Flat,
    coefficients.Normal,
    coefficients.NormalInverseGamma,
    covariance.LKJ,
    covariance.FlatCovariance,
)
ELSEWHERE = {  # names of distributions in other packages, and of the whole in place of the half
    **dict.fromkeys(("gaussian", "norm"), "Normal"),
    **dict.fromkeys(("cauchy", "half_cauchy"), "HalfCauchy"),
    **dict.fromkeys(("studentt", "student_t", "halft", "half_t", "t"), "HalfStudentT"),
    **dict.fromkeys(("invgamma", "inv_gamma"), "InverseGamma"),
    **dict.fromkeys(("half_normal",), "HalfNormal"),
    **dict.fromkeys(("lkj_corr_cholesky", "lkjcorr", "lkjcholeskycov"), "LKJ"),
    **dict.fromkeys(("constant", "delta", "diracdelta"), "Fixed"),
    **dict.fromkeys(("improper",), "Flat"),
}
PRIORS: Mapping[str, type[Prior]] = {kind.__name__: kind for kind in KINDS}


def parse_prior(text: str) -> Prior:
    """Read a prior as it is written in Python; nothing is evaluated.

    Parameters
    ----------
    text : str
        Name and parameters, which are numbers.

    Raises
    ------
    SpecError
        If it is not one of this module's priors, or its parameters are not right.

    Examples
    --------
    >>> from hiermodels.model.priors.registry import parse_prior
    >>> parse_prior("HalfStudentT(3, sigma=2.5)")
    HalfStudentT(nu=3.0, sigma=2.5)
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise SpecError(f"prior: expected one such as HalfNormal(5) or FlatSD(); found {text!r}")
    if call.func.id not in PRIORS:
        raise SpecError(
            f"prior: there is no {call.func.id!r}; expected one of {', '.join(PRIORS)}"
            f"{did_you_mean(call.func.id, PRIORS, ELSEWHERE)}"
        )
    kind = PRIORS[call.func.id]
    positional = [_number(text, value) for value in call.args]
    named = {str(given.arg): _number(text, given.value) for given in call.keywords}
    try:
        return kind(*positional, **named)
    except TypeError as error:
        signature, reason = inspect.signature(kind), str(error)
        try:
            signature.bind(*positional, **named)
        except TypeError as plainer:
            reason = str(plainer)
        names = ", ".join(signature.parameters)
        raise SpecError(f"prior {text!r}: {reason}; expected {kind.__name__}({names})") from error


def read_priors(given: Mapping[str, Prior | str]) -> dict[str, Prior]:
    """Priors by parameter, of which some may be written out as text.

    Raises
    ------
    SpecError
        If text is no prior.
    """
    priors: dict[str, Prior] = {}
    for name, prior in given.items():
        try:
            priors[name] = parse_prior(prior) if isinstance(prior, str) else prior
        except SpecError as error:
            raise SpecError(f"priors: {name!r}: {str(error).removeprefix('prior: ')}") from error
    return priors


def _number(text: str, node: ast.expr) -> float:
    """Value of a number that is written out."""
    try:
        value = ast.literal_eval(node)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        pass
    raise SpecError(f"prior {text!r}: expected numbers; found {ast.unparse(node)}")
