"""A whole formula: outcome, covariates and groups."""

from __future__ import annotations

from dataclasses import dataclass, field

from hiermodels.errors import SpecError
from hiermodels.model.formula.groups import group_term, groups_of, has_bar, write_groups
from hiermodels.model.formula.intercept import has_intercept, with_zero
from hiermodels.model.formula.rows import is_offset, offset_columns, outcome_and_columns
from hiermodels.model.formula.terms import covariate_terms, factors, quote, write
from hiermodels.model.formula.tokens import cut, split, tokenize
from hiermodels.model.level import Varying
from hiermodels.model.nests import Nesting


@dataclass(frozen=True)
class Formula:
    """What a formula says.

    Attributes
    ----------
    outcome : str
        Column of the outcome.
    terms : tuple of str
        Covariates and their interactions, the intercept not among them, in a normal form such as
        ``("ses", "C(sex)", "ses:C(sex)")``: ``a*b`` is written out, nothing stands twice, and
        main effects come before interactions.  :func:`factors` takes a term apart.
    groups : tuple of str
        Columns of the group labels, from the outermost to the innermost level; may be empty.
    intercept : bool
        Whether there is one; without it the mean at the top is 0.
    row_columns : dict of str to str
        Columns of ``trials``, ``exposure``, ``se`` and ``offset``, where the formula names them.
    varying : tuple of Varying
        Terms that vary between the groups of each level; empty where all are intercepts.
    nesting : tuple of int
        Of crossed groups: for each column, the index of the one that it is nested in, or -1.
    """

    outcome: str
    terms: tuple[str, ...]
    groups: tuple[str, ...]
    intercept: bool = True
    row_columns: dict[str, str] = field(default_factory=dict)
    varying: tuple[Varying, ...] = ()
    nesting: Nesting = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the covariates, each once, in the order of the terms."""
        columns = [factor.column for term in self.terms for factor in factors(term)]
        return tuple(dict.fromkeys(columns))

    def __str__(self) -> str:
        groups = write_groups(self.groups, self.varying, self.nesting)
        zero = [] if self.intercept else ["0"]
        outcome, known = quote(self.outcome), []
        for role, column in self.row_columns.items():
            if role == "offset":
                known.append(f"offset({quote(column)})")
            else:
                outcome += f" | {'rate' if role == 'exposure' else role}({quote(column)})"
        return f"{outcome} ~ {' + '.join([*zero, *self.terms, *known, *groups]) or '1'}"


def parse(formula: str) -> Formula:
    """Read a formula in the notation of lme4 and bambi.

    Parameters
    ----------
    formula : str
        ``outcome ~ terms``, with the terms joined by ``+``: columns, ``C(column)`` for numbers
        that are categories, ``center(column)`` and ``scale(column)`` for numbers less their mean
        (and divided by their sd), interactions ``a:b`` and ``a*b`` (which is ``a + b + a:b``),
        and groups, ``(1 | inner)`` or ``(1 | outer/inner)``; the latter may
        be written ``(1 | outer) + (1 | outer:inner)``.  Several nests are crossed,
        ``(1 | plate) + (1 | sample)``.  Slopes that vary between groups stand with
        the intercept, ``(1 + x | inner)``; with ``||`` they are uncorrelated, and with ``0 + x``
        they vary alone.  Known standard errors: ``y | se(s)``.  Counts:
        ``y | trials(n)`` or ``p(y, n)`` for the outcome, ``y | rate(E)`` or the term
        ``offset(log(E))`` for an exposure, and ``offset(x)`` for a known part of the linear
        predictor.  The intercept is there, and ``1`` may say so, unless ``0``, ``-1`` or ``- 1``
        takes it out.  Column names that are no identifiers stand in backticks.

    Returns
    -------
    Formula

    Raises
    ------
    SpecError
        If anything else stands in it, naming what was found, where, and what to do.

    References
    ----------
    Bates, Mächler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4,
    Journal of Statistical Software 67(1), section 2.1.

    Examples
    --------
    >>> from hiermodels.model.formula.parse import parse
    >>> parse("score ~ 1 + ses*C(sex) + (1 | school/classroom)")  # doctest: +NORMALIZE_WHITESPACE
    Formula(outcome='score', terms=('ses', 'C(sex)', 'ses:C(sex)'),
            groups=('school', 'classroom'), intercept=True, row_columns={}, varying=(), nesting=())
    """
    tokens = tokenize(formula)
    tildes = [i for i, token in enumerate(tokens) if token.sign == "~"]
    if len(tildes) != 1:
        raise SpecError(
            f"formula: expected one ~ between the outcome and the terms, as in "
            f"'score ~ ses + (1 | school)'; found {len(tildes)} in {cut(formula)}"
        )
    left, tilde = tokens[: tildes[0]], tokens[tildes[0]]
    right = with_zero(tokens[tildes[0] + 1 :])
    outcome, row_columns = outcome_and_columns(left, tilde)
    summands = split(right, "+", tilde)
    nests = [group_term(part) for part in summands if has_bar(part)]
    row_columns = _joined(row_columns, offset_columns(summands), formula)
    others = [part for part in summands if not (has_bar(part) or is_offset(part))]
    intercept = has_intercept(others)
    terms = covariate_terms(others)
    columns, varying, nesting = groups_of(nests)
    written = tuple(map(write, terms))
    result = Formula(outcome, written, columns, intercept, row_columns, varying, nesting)
    if not (intercept or terms or result.groups):
        raise SpecError(
            f"formula: {cut(formula)} has no intercept, covariates or groups: nothing is left to "
            f"learn the mean from. Write 1 for the intercept, or add terms"
        )
    if outcome in (*result.columns, *result.groups):
        raise SpecError(
            f"formula: column {outcome!r} is the outcome, and stands on the right of ~ as well in "
            f"{cut(formula)}. Take it out there"
        )
    return result


def _joined(left: dict[str, str], right: dict[str, str], formula: str) -> dict[str, str]:
    """Columns of the rows from both sides of the formula, each said once."""
    if left.keys() & right.keys():
        raise SpecError(
            f"formula: {cut(formula)} has an exposure on both sides of ~. Write one of them"
        )
    return left | right
