"""What someone may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

ALIKE = 0.65  # least similarity of two names of which one may be the other misspelt

# Arguments of other packages and other versions of a word, by what they are called here.
ARGUMENTS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("seed", "random_state", "rng"), "random_seed"),
        **dict.fromkeys(("group", "grouping", "by", "cluster", "slab"), "groups"),
        **dict.fromkeys(("n_chains", "num_chains"), "chains"),
        **dict.fromkeys(("samples", "n_samples", "num_samples", "n_draws", "iter"), "draws"),
        **dict.fromkeys(("progress", "progress_bar", "show_progress"), "progressbar"),
        **dict.fromkeys(("y", "yi", "response", "target", "endog"), "outcome"),
        **dict.fromkeys(("sei", "std_err", "stderr", "standard_error", "sigma"), "se"),
        **dict.fromkeys(("vi", "var", "variances"), "variance"),
        **dict.fromkeys(("v", "vcov", "cov", "fcor"), "covariance"),
        **dict.fromkeys(("x", "mods", "exog", "covariate", "predictors", "fixed"), "covariates"),
        **dict.fromkeys(("n", "ni", "size", "trial"), "trials"),
        **dict.fromkeys(("expected", "rate"), "exposure"),
        "weight": "weights",
        **dict.fromkeys(("method", "sampler", "backend"), "engine"),
        "na_action": "missing",
        **dict.fromkeys(("hdi_prob", "prob", "level", "conf_level", "credible"), "ci_prob"),
        "prior": "priors",
    }
)


def did_you_mean(
    given: object, known: Iterable[str], other_names: Mapping[str, str] | None = None
) -> str:
    """A question to end a message with: ``". Did you mean 'school'?"``; empty without a guess.

    Parameters
    ----------
    given : object
        The name that is not known; there is no guess for what is no text.
    known : iterable of str
        Names that would do.  Letters are compared as small ones.
    other_names : mapping of str to str, optional
        What something is called elsewhere, and which of the known names it has here.
    """
    if not isinstance(given, str):
        return ""
    by_small: dict[str, str] = {}
    for name in known:
        by_small.setdefault(name.casefold(), name)
    small = given.casefold()
    elsewhere = (other_names or {}).get(small)
    if elsewhere is not None and elsewhere.casefold() in by_small:
        return f". Did you mean {elsewhere!r}?"
    matches = get_close_matches(small, by_small, n=1, cutoff=ALIKE)
    return f". Did you mean {by_small[matches[0]]!r}?" if matches else ""
