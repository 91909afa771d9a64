"""Formulas in the notation of lme4: parsed, never evaluated.

A formula may come from a file or from a web page, so that it is read as text from beginning to
end: what stands in it are column names, ``C(column)``, ``center(column)``, ``scale(column)``, 0 and
1, and the operators ``~ + : * | / ( )``; a minus only before the 1 that it takes out.  Anything
else is refused here, before any other library sees it.

    outcome ~ covariates + (1 | outer/inner)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

from hiermodels.core.messages import is_storable, short
from hiermodels.core.options import names
from hiermodels.errors import SpecError

MOST_LEVELS = 2
MOST_TERMS = 1000  # a*b*c*… doubles with each factor
DEEPEST = 20  # parentheses within parentheses
LONGEST = 200  # characters of a formula in a message
_TOKEN = re.compile(
    r"""
      `(?P<quoted>[^`]+)`
    | (?P<name>[^\W\d]\w*(?:\.\w+)*)
    | (?P<number>\d[\w.]*)
    | (?P<sign>\|\||\*(?!\*)|[~+:|/()-])
    | (?P<other>\*\*|\S)
    """,
    re.VERBOSE,
)

_MINUS = (
    "only the intercept can be taken out, as 0 + x or x - 1. Of other terms, write only those that "
    "are wanted"
)
_BARE = re.compile(r"[^\W\d]\w*")
CATEGORY, CENTER, SCALE = "C", "center", "scale"
FUNCTIONS = (CATEGORY, CENTER, SCALE)  # that are understood, each of one column
_CALLS = "C(column), center(column) or scale(column)"
_ALLOWED = (
    f"a formula holds column names, {_CALLS}, 0 or 1 and the signs ~ + : * | / ( ). Make any other "
    f"column in the data frame first, and use its name"
)
_HINTS = {
    "**": "powers are not computed. Make the column in the data frame first, and use its name; "
    "write interactions out, as a:b",
    ".": "'all other columns' is not understood. Name the columns one by one",
    "`": "expected a column name between two backticks",
    "=": "the outcome is separated from the terms by ~",
}
_HINTS |= {"^": _HINTS["**"]} | dict.fromkeys(
    ("'", '"'), "texts are not allowed. Put column names with spaces in backticks, `like this`"
)


@dataclass(frozen=True)
class Factor:
    """A column as it stands in a formula.

    Attributes
    ----------
    column : str
    function : {"", "C", "center", "scale"}
        What it is written in: ``C(column)`` is categorical, as a column of text is without it;
        ``center(column)`` has its mean subtracted, and ``scale(column)`` is divided by its sd, too.
    """

    column: str
    function: str = ""

    @property
    def categorical(self) -> bool:
        """Whether it is written ``C(column)``."""
        return self.function == CATEGORY

    @property
    def is_moved(self) -> bool:
        """Whether its mean is subtracted."""
        return self.function in (CENTER, SCALE)

    def __str__(self) -> str:
        return f"{self.function}({quote(self.column)})" if self.function else quote(self.column)


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
    """

    outcome: str
    terms: tuple[str, ...]
    groups: tuple[str, ...]
    intercept: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the covariates, each once, in the order of the terms."""
        found = [factor.column for term in self.terms for factor in factors(term)]
        return tuple(dict.fromkeys(found))

    def __str__(self) -> str:
        groups = [f"(1 | {'/'.join(map(quote, self.groups))})"] if self.groups else []
        zero = [] if self.intercept else ["0"]
        return f"{quote(self.outcome)} ~ {' + '.join([*zero, *self.terms, *groups]) or '1'}"


class Stated(NamedTuple):
    """Columns by their roles, None where these are to be inferred, and whether there is a mean."""

    outcome: str | None
    groups: Sequence[str] | str | None
    covariates: tuple[str, ...]
    intercept: bool = True


def stated(
    formula: str | None,
    outcome: str | None,
    groups: Sequence[str] | str | None,
    covariates: Sequence[str] | str | None,
) -> Stated:
    """Outcome, groups and terms of the covariates, from a formula or said one by one.

    Raises
    ------
    SpecError
        If the formula says what is also said beside it.
    """
    if formula is None:
        return Stated(outcome, groups, quoted(column_names("covariates", covariates)))
    given = {"outcome": outcome, "groups": groups, "covariates": covariates}
    twice = [name for name, value in given.items() if value is not None]
    if twice:
        raise SpecError(f"the formula says what {twice[0]} is; leave out {twice[0]}=…")
    parsed = parse(formula)
    return Stated(parsed.outcome, parsed.groups, parsed.terms, parsed.intercept)


def column_names(role: str, given: Any) -> list[str]:
    """One name, several in a list or tuple, or none, as a list.

    Raises
    ------
    SpecError
        If what was given is not text; a set has no order.
    """
    found = names(role, "column", given)
    for name in found:
        require_name(role, name)
    return found


def require_name(role: str, name: Any) -> None:
    """Refuse what cannot be the name of a column that is used.

    Raises
    ------
    SpecError
        If it is not text, is empty, or holds what arrays of text and files cannot.
    """
    if not isinstance(name, str):
        raise SpecError(
            f"{role}: expected the name of a column as text; found {short(name)} "
            f"({type(name).__name__}). Where columns are numbered, rename them first, as with "
            f"data.rename(columns=str)"
        )
    if not is_storable(name):
        raise SpecError(
            f"{role}: column {name!r} has a name that is empty or has a NUL in it; rename it"
        )


def quoted(columns: Sequence[str]) -> tuple[str, ...]:
    """Columns as terms of a formula."""
    return tuple(quote(column) for column in columns)


def parse(formula: str) -> Formula:
    """Read a formula in the notation of lme4 and bambi.

    Parameters
    ----------
    formula : str
        ``outcome ~ terms``, with the terms joined by ``+``: columns, ``C(column)`` for numbers
        that are categories, ``center(column)`` and ``scale(column)`` for numbers less their mean
        (and divided by their sd), interactions ``a:b`` and ``a*b`` (which is ``a + b + a:b``),
        and at most one nest of groups, ``(1 | inner)`` or ``(1 | outer/inner)``; the latter may
        be written ``(1 | outer) + (1 | outer:inner)``.  The intercept is there, and ``1`` may say
        so, unless ``0``, ``-1`` or ``- 1`` takes it out.  Column names that are no identifiers
        stand in backticks.

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
    >>> from hiermodels.model.formula import parse
    >>> parse("score ~ 1 + ses*C(sex) + (1 | school/classroom)")  # doctest: +NORMALIZE_WHITESPACE
    Formula(outcome='score', terms=('ses', 'C(sex)', 'ses:C(sex)'),
            groups=('school', 'classroom'))
    """
    tokens = _tokenize(formula)
    tildes = [i for i, token in enumerate(tokens) if token.sign == "~"]
    if len(tildes) != 1:
        raise SpecError(
            f"formula: expected one ~ between the outcome and the terms, as in "
            f"'score ~ ses + (1 | school)'; found {len(tildes)} in {_cut(formula)}"
        )
    left, tilde = tokens[: tildes[0]], tokens[tildes[0]]
    right = _with_zero(tokens[tildes[0] + 1 :])
    outcome = _outcome(left, tilde)
    summands = _split(right, "+", tilde)
    nests = [_group_term(part) for part in summands if _has_bar(part)]
    others = [part for part in summands if not _has_bar(part)]
    intercept = _intercept(others)
    terms = _covariates(others)
    result = Formula(outcome, tuple(map(_write, terms)), _nesting(nests, formula), intercept)
    if not (intercept or terms or result.groups):
        raise SpecError(
            f"formula: {_cut(formula)} has no intercept, covariates or groups: nothing is left to "
            f"learn the mean from. Write 1 for the intercept, or add terms"
        )
    if outcome in (*result.columns, *result.groups):
        raise SpecError(
            f"formula: column {outcome!r} is the outcome, and stands on the right of ~ as well in "
            f"{_cut(formula)}. Take it out there"
        )
    return result


def factors(term: str) -> tuple[Factor, ...]:
    """Take a term such as ``"ses:C(sex)"`` apart into its factors.

    Raises
    ------
    SpecError
        If it is not a single term: a column, a function of one or an interaction ``a:b``.
    """
    tokens = _tokenize(term)
    terms = _sum(tokens, None) if tokens else []
    if len(terms) != 1:
        raise SpecError(
            f"covariates: expected a column, {_CALLS}, or an interaction a:b; found {term!r}. Give "
            f"each term by itself"
        )
    return terms[0]


def quote(column: str) -> str:
    """Write a column name as it stands in a formula, in backticks if it is no identifier.

    Raises
    ------
    SpecError
        If the name is empty or has a backtick in it, so that no formula can hold it.
    """
    if _BARE.fullmatch(column):
        return column
    if not column or "`" in column:
        raise SpecError(f"column {column!r} cannot be named in a formula; rename it")
    return f"`{column}`"


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int
    formula: str

    @property
    def sign(self) -> str:
        """The operator or parenthesis that this is, or nothing."""
        return self.text if self.kind == "sign" else ""

    @property
    def is_column(self) -> bool:
        return self.kind in ("name", "quoted")

    def refuse(self, remedy: str) -> NoReturn:
        """Say what was found, where, and what to do."""
        found = _cut(self.formula[self.start : self.end])
        place = f"at character {self.start + 1} of {_cut(self.formula)}"
        raise SpecError(f"formula: found {found} {place}: {remedy}")


type _Terms = list[tuple[Factor, ...]]


def _tokenize(formula: str) -> list[_Token]:
    """Cut a formula into tokens, all of them allowed, with matching parentheses."""
    if not isinstance(formula, str):
        raise SpecError(
            f"formula: expected text such as 'score ~ ses + (1 | school)'; found {formula!r}"
        )
    tokens = []
    for match in _TOKEN.finditer(formula):
        kind = match.lastgroup or ""
        tokens.append(_Token(kind, match[kind], *match.span(), formula))
    end = _Token("end", "", len(formula), len(formula), formula)
    for token, following in pairwise([*tokens, end]):
        _check_call(token, following)
        _check_token(token)
    _check_parentheses(tokens)
    return tokens


def _check_call(token: _Token, following: _Token) -> None:
    """Refuse calls of functions that are not understood."""
    is_known = token.kind == "name" and token.text in FUNCTIONS
    if following.sign == "(" and token.is_column and not is_known:
        _span([token, following]).refuse(
            f"of functions, {_CALLS} are understood. Make any other column in the data frame "
            f"first, and use its name"
        )


def _check_token(token: _Token) -> None:
    """Refuse signs that are not allowed, attributes, and numbers other than 0 and 1."""
    if token.kind == "other":
        token.refuse(_HINTS.get(token.text, _ALLOWED))
    if token.kind == "name" and "." in token.text:
        token.refuse(
            "attributes are not looked up. Put a column name with a dot in it in backticks"
        )
    if token.kind == "number" and token.text not in ("0", "1"):
        token.refuse("the only numbers in a formula are 0 and 1")


def _check_parentheses(tokens: Sequence[_Token]) -> None:
    opened = []
    for token in tokens:
        if token.sign == "(":
            opened.append(token)
            if len(opened) > DEEPEST:
                token.refuse(f"more than {DEEPEST} parentheses within each other")
        elif token.sign == ")":
            if not opened:
                token.refuse("this parenthesis was never opened")
            opened.pop()
    if opened:
        opened[-1].refuse("this parenthesis is never closed")


def _outcome(tokens: Sequence[_Token], tilde: _Token) -> str:
    if not tokens:
        tilde.refuse("there is no outcome before it. Name a column, as in 'score ~ …'")
    if len(tokens) > 1 or not tokens[0].is_column:
        _span(tokens).refuse(
            "expected the outcome, a single column. Make the column in the data frame first, and "
            "use its name"
        )
    return tokens[0].text


def _with_zero(tokens: Sequence[_Token]) -> list[_Token]:
    """Write ``- 1`` as ``+ 0``; nothing else can be taken out."""
    written: list[_Token] = []
    depth = 0
    for i, token in enumerate(tokens):
        depth += _depth(token)
        if token.sign == "-":
            if depth or [following.text for following in tokens[i + 1 : i + 2]] != ["1"]:
                token.refuse(_MINUS)
            if written and written[-1].sign != "+":
                written.append(token._replace(text="+"))
        elif i and tokens[i - 1].sign == "-":
            written.append(token._replace(text="0"))
        else:
            written.append(token)
    return written


def _intercept(summands: Sequence[Sequence[_Token]]) -> bool:
    """Whether there is an intercept, which 0 takes out and 1 says."""
    numbers = [part[0] for part in summands if _is_number(part)]
    for token in numbers:
        if token.text != numbers[0].text:
            token.refuse("an intercept is both asked for and taken out. Write 1, or 0, or nothing")
    return not numbers or numbers[0].text == "1"


def _is_number(tokens: Sequence[_Token]) -> bool:
    return len(tokens) == 1 and tokens[0].kind == "number"


def _covariates(summands: Sequence[Sequence[_Token]]) -> _Terms:
    """Terms of the summands, the intercept left out, main effects before interactions."""
    terms: _Terms = []
    for part in summands:
        if not _is_number(part):
            terms += _product(part)
    return sorted(_distinct(terms, _span(summands[0]) if summands else None), key=len)


def _sum(tokens: Sequence[_Token], before: _Token | None) -> _Terms:
    """``a + b``."""
    parts = _split(tokens, "+", before)
    return _distinct([term for part in parts for term in _product(part)], tokens[0])


def _product(tokens: Sequence[_Token]) -> _Terms:
    """``a*b = a + b + a:b``."""
    first, *others = _split(tokens, "*", None)
    terms = _interaction(first)
    for part in others:
        right = _interaction(part)
        terms = _distinct([*terms, *right, *_cross(terms, right)], tokens[0])
    return terms


def _interaction(tokens: Sequence[_Token]) -> _Terms:
    """``a:b``."""
    first, *others = _split(tokens, ":", None)
    terms = _atom(first)
    for part in others:
        terms = _distinct(_cross(terms, _atom(part)), tokens[0])
    return terms


def _atom(tokens: Sequence[_Token]) -> _Terms:
    """Read a column, a function of one, or terms in parentheses."""
    first = tokens[0]
    if len(tokens) == 1 and first.is_column:
        return [(Factor(first.text),)]
    if len(tokens) > 1 and first.is_column and tokens[1].sign == "(":
        return [(_call(tokens),)]
    if first.sign == "(" and _closes_at_end(tokens):
        return _sum(tokens[1:-1], first)
    for token in tokens:
        if token.sign == "/":
            token.refuse(
                "this nests groups, as in (1 | school/classroom). Write a + a:b for covariates"
            )
        if token.kind == "number":
            token.refuse("a number is no covariate. 1 stands for the intercept, by itself")
    _span(tokens).refuse(f"expected a column name, {_CALLS}, or terms joined by + : *")


def _call(tokens: Sequence[_Token]) -> Factor:
    """Read a function of one column."""
    function = tokens[0].text
    if len(tokens) != 4 or not tokens[2].is_column:
        more = (
            "Its reference is the first level; to choose another, make the column categorical in "
            "the data frame, with that level first"
            if function == CATEGORY
            else "Make any other column in the data frame first, and use its name"
        )
        _span(tokens).refuse(f"{function}(…) takes one column. {more}")
    return Factor(tokens[2].text, function)


def _cross(left: _Terms, right: _Terms) -> _Terms:
    return [tuple(dict.fromkeys(a + b)) for a in left for b in right]


def _distinct(terms: _Terms, where: _Token | None) -> _Terms:
    """Leave out what stands twice: ``b:a`` is ``a:b``."""
    if where and len(terms) > MOST_TERMS:
        where.refuse(f"this has more than {MOST_TERMS} terms when written out. Take some out")
    found: dict[frozenset[Factor], tuple[Factor, ...]] = {}
    for term in terms:
        found.setdefault(frozenset(term), term)
    return list(found.values())


def _write(term: tuple[Factor, ...]) -> str:
    return ":".join(map(str, term))


def _has_bar(tokens: Sequence[_Token]) -> bool:
    return any(token.sign in ("|", "||") for token in tokens)


class _Nest(NamedTuple):
    sign: str
    columns: tuple[str, ...]
    where: _Token


def _group_term(tokens: Sequence[_Token]) -> _Nest:
    """Read ``(1 | a)``, ``(1 | a/b)`` or ``(1 | a:b)``."""
    where = _span(tokens)
    signs = [token.sign for token in tokens]
    if signs[0] != "(" or not _closes_at_end(tokens):
        where.refuse(
            "groups stand in parentheses of their own, as in (1 | school), joined to other terms "
            "by +"
        )
    bar = next(i for i, sign in enumerate(signs) if sign in ("|", "||"))
    if signs[bar] == "||" or [token.text for token in tokens[1:bar]] != ["1"]:
        where.refuse(
            "only intercepts vary between groups, as in (1 | school). Give a covariate one slope; "
            "for slopes that vary, use PyMC or bambi"
        )
    columns, joints = tokens[bar + 1 : -1 : 2], signs[bar + 2 : -1 : 2]
    if (
        len(columns) != len(joints) + 1
        or not all(token.is_column for token in columns)
        or set(joints) not in (set(), {"/"}, {":"})
    ):
        where.refuse("expected a column of group labels, (1 | school), or two, (1 | school/class)")
    return _Nest("".join(set(joints)), tuple(token.text for token in columns), where)


def _nesting(nests: Sequence[_Nest], formula: str) -> tuple[str, ...]:
    """Columns of the groups, from the outermost to the innermost level."""
    for nest in nests:
        if len(set(nest.columns)) < len(nest.columns):
            nest.where.refuse("a column stands in it twice")
        if len(nest.columns) > MOST_LEVELS:
            nest.where.refuse(
                f"more than {MOST_LEVELS} levels of groups are not supported. Leave one out, or "
                f"use PyMC or bambi"
            )
    if not nests:
        return ()
    first = nests[0]
    if len(nests) == 1 and first.sign != ":":
        return first.columns
    shorter, *others = sorted(nests, key=lambda nest: len(nest.columns))
    if len(others) == 1 and len(shorter.columns) == 1 and others[0].sign == ":":
        outer = shorter.columns[0]
        inner = [column for column in others[0].columns if column != outer]
        if len(inner) == 1:
            return (outer, *inner)
    _refuse_nests(nests, formula)


def _refuse_nests(nests: Sequence[_Nest], formula: str) -> NoReturn:
    single = list(dict.fromkeys(nest.columns[0] for nest in nests if len(nest.columns) == 1))
    if len(single) > 1:
        outer, inner = map(quote, single[:2])
        raise SpecError(
            f"formula: {_cut(formula)} has crossed groups, (1 | {outer}) + (1 | {inner}); "
            f"hiermodels' models are nested. If each {inner} lies in one {outer}, write "
            f"(1 | {outer}/{inner}); for crossed groups, use PyMC or bambi"
        )
    if len(nests) == 1:
        nests[0].where.refuse(
            "this leaves out the outer level. Write (1 | school/class) for both levels; for the "
            "inner alone, make one column of the two labels"
        )
    raise SpecError(
        f"formula: the groups of {_cut(formula)} are not one nest. Expected (1 | school), or "
        f"(1 | school/class), which is (1 | school) + (1 | school:class); for other groups, use "
        f"PyMC or bambi"
    )


def _split(tokens: Sequence[_Token], sign: str, before: _Token | None) -> list[list[_Token]]:
    """Split at a sign that stands in no parentheses, and refuse empty parts.

    ``before`` is the token to complain of if there are no tokens at all.
    """
    parts: list[list[_Token]] = [[]]
    depth = 0
    last = before
    for token in tokens:
        depth += _depth(token)
        if token.sign == sign and not depth:
            if not parts[-1]:
                token.refuse("expected a term before it")
            parts.append([])
            last = token
        else:
            parts[-1].append(token)
    if not parts[-1] and last:
        last.refuse("expected a term after it")
    return parts


def _closes_at_end(tokens: Sequence[_Token]) -> bool:
    """Whether the parenthesis that opens the tokens is closed by the last of them."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += _depth(token)
        if not depth:
            return i == len(tokens) - 1
    return False


def _depth(token: _Token) -> int:
    """How many parentheses deeper the tokens after this one are."""
    return (token.sign == "(") - (token.sign == ")")


def _span(tokens: Sequence[_Token]) -> _Token:
    """Several tokens as one, to speak of in a message."""
    return tokens[0]._replace(end=tokens[-1].end)


def _cut(text: str) -> str:
    return repr(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")
