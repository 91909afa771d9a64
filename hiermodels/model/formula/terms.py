"""Covariates of a formula: terms, and the factors that a term is made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hiermodels.errors import SpecError
from hiermodels.model.formula.tokens import (
    CALLS,
    CATEGORY,
    CENTER,
    FUNCTIONS,
    SCALE,
    Token,
    closes_at_end,
    is_number,
    refuse_function,
    span,
    split,
    tokenize,
)

MAX_TERMS = 1000  # a*b*c*… doubles with each factor
_BARE = re.compile(r"[^\W\d]\w*")


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


def quoted(columns: Sequence[str]) -> tuple[str, ...]:
    """Columns as terms of a formula."""
    return tuple(quote(column) for column in columns)


def factors(term: str) -> tuple[Factor, ...]:
    """Take a term such as ``"ses:C(sex)"`` apart into its factors.

    Raises
    ------
    SpecError
        If it is not a single term: a column, a function of one or an interaction ``a:b``.
    """
    tokens = tokenize(term)
    terms = _sum(tokens, None) if tokens else []
    if len(terms) != 1:
        raise SpecError(
            f"covariates: expected a column, {CALLS}, or an interaction a:b; found {term!r}. Give "
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


type Terms = list[tuple[Factor, ...]]


def covariate_terms(summands: Sequence[Sequence[Token]]) -> Terms:
    """Terms of the summands, the intercept left out, main effects before interactions."""
    terms: Terms = []
    for part in summands:
        if not is_number(part):
            terms += _product(part)
    return sorted(_distinct(terms, span(summands[0]) if summands else None), key=len)


def _sum(tokens: Sequence[Token], before: Token | None) -> Terms:
    """``a + b``."""
    parts = split(tokens, "+", before)
    return _distinct([term for part in parts for term in _product(part)], tokens[0])


def _product(tokens: Sequence[Token]) -> Terms:
    """``a*b = a + b + a:b``."""
    first, *others = split(tokens, "*", None)
    terms = _interaction(first)
    for part in others:
        right = _interaction(part)
        terms = _distinct([*terms, *right, *_cross(terms, right)], tokens[0])
    return terms


def _interaction(tokens: Sequence[Token]) -> Terms:
    """``a:b``."""
    first, *others = split(tokens, ":", None)
    terms = _atom(first)
    for part in others:
        terms = _distinct(_cross(terms, _atom(part)), tokens[0])
    return terms


def _atom(tokens: Sequence[Token]) -> Terms:
    """Read a column, a function of one, or terms in parentheses."""
    first = tokens[0]
    if len(tokens) == 1 and first.is_column:
        return [(Factor(first.text),)]
    if len(tokens) > 1 and first.is_column and tokens[1].sign == "(":
        return [(_call(tokens),)]
    if first.sign == "(" and closes_at_end(tokens):
        return _sum(tokens[1:-1], first)
    for token in tokens:
        if token.sign == "/":
            token.refuse(
                "this nests groups, as in (1 | school/classroom). Write a + a:b for covariates"
            )
        if token.kind == "number":
            token.refuse("a number is no covariate. 1 stands for the intercept, by itself")
    span(tokens).refuse(f"expected a column name, {CALLS}, or terms joined by + : *")


def _call(tokens: Sequence[Token]) -> Factor:
    """Read a function of one column."""
    function = tokens[0].text
    if function not in FUNCTIONS:
        refuse_function(span(tokens[:2]))
    if len(tokens) != 4 or not tokens[2].is_column:
        more = (
            "Its reference is the first level; to choose another, make the column categorical in "
            "the data frame, with that level first"
            if function == CATEGORY
            else "Make any other column in the data frame first, and use its name"
        )
        span(tokens).refuse(f"{function}(…) takes one column. {more}")
    return Factor(tokens[2].text, function)


def _cross(left: Terms, right: Terms) -> Terms:
    return [tuple(dict.fromkeys(a + b)) for a in left for b in right]


def _distinct(terms: Terms, where: Token | None) -> Terms:
    """Leave out what stands twice: ``b:a`` is ``a:b``."""
    if where and len(terms) > MAX_TERMS:
        where.refuse(f"this has more than {MAX_TERMS} terms when written out. Take some out")
    distinct: dict[frozenset[Factor], tuple[Factor, ...]] = {}
    for term in terms:
        distinct.setdefault(frozenset(term), term)
    return list(distinct.values())


def write(term: tuple[Factor, ...]) -> str:
    """Write a term as it stands in a formula."""
    return ":".join(map(str, term))
