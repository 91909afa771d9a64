"""The text of a formula, cut into tokens, all of them allowed, with matching parentheses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, NoReturn

from hiermodels.errors import SpecError

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
CATEGORY, CENTER, SCALE = "C", "center", "scale"
FUNCTIONS = (CATEGORY, CENTER, SCALE)  # that are understood, each of one column
CALLS = "C(column), center(column) or scale(column)"
PAIRS = ("p", "prop", "proportion")  # of an outcome and its number of trials, as in bambi
ROW_FUNCTIONS = (
    *PAIRS,
    "trials",
    "rate",
    "se",
    "weights",
    "offset",
)  # of the rows, not of covariates
LOG_OFFSET = ("offset", "(", "log")  # the only place of a logarithm
_ALLOWED = (
    f"a formula holds column names, {CALLS}, 0 or 1 and the signs ~ + : * | / ( ). Make any other "
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


class Token(NamedTuple):
    """A piece of a formula, and where it stands."""

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
        """Whether it names a column."""
        return self.kind in ("name", "quoted")

    def refuse(self, remedy: str) -> NoReturn:
        """Say what was found, where, and what to do."""
        text = cut(self.formula[self.start : self.end])
        place = f"at character {self.start + 1} of {cut(self.formula)}"
        raise SpecError(f"formula: found {text} {place}: {remedy}")


def tokenize(formula: str) -> list[Token]:
    """Cut a formula into tokens, all of them allowed, with matching parentheses."""
    if not isinstance(formula, str):
        raise SpecError(
            f"formula: expected text such as 'score ~ ses + (1 | school)'; found {formula!r}"
        )
    tokens = []
    for match in _TOKEN.finditer(formula):
        kind = match.lastgroup or ""
        tokens.append(Token(kind, match[kind], *match.span(), formula))
    end = Token("end", "", len(formula), len(formula), formula)
    for i, (token, following) in enumerate(pairwise([*tokens, end])):
        if tuple(before.text for before in tokens[max(i - 2, 0) : i + 1]) != LOG_OFFSET:
            _check_call(token, following)
        if not _separates_pair(tokens[max(i - 3, 0) : i + 1]):
            _check_token(token)
    _check_parentheses(tokens)
    return tokens


def _check_call(token: Token, following: Token) -> None:
    """Raise an error if a function is called that is not understood."""
    is_known = token.kind == "name" and token.text in (*FUNCTIONS, *ROW_FUNCTIONS)
    if following.sign == "(" and token.is_column and not is_known:
        refuse_function(span([token, following]))


def refuse_function(where: Token) -> NoReturn:
    """Say which functions of covariates are understood."""
    where.refuse(
        f"of functions, {CALLS} are understood. Make any other column in the data frame first, "
        f"and use its name"
    )


def _separates_pair(tokens: Sequence[Token]) -> bool:
    """Whether the last of four tokens is the comma in ``p(outcome, trials)``."""
    return (
        len(tokens) == 4
        and tokens[0].text in PAIRS
        and (tokens[1].sign, tokens[3].text) == ("(", ",")
    )


def _check_token(token: Token) -> None:
    """Raise an error if there are other signs, attributes, or numbers other than 0 and 1."""
    if token.kind == "other":
        token.refuse(_HINTS.get(token.text, _ALLOWED))
    if token.kind == "name" and "." in token.text:
        token.refuse(
            "attributes are not looked up. Put a column name with a dot in it in backticks"
        )
    if token.kind == "number" and token.text not in ("0", "1"):
        token.refuse("the only numbers in a formula are 0 and 1")


def _check_parentheses(tokens: Sequence[Token]) -> None:
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


def is_number(tokens: Sequence[Token]) -> bool:
    """Whether it is a number by itself."""
    return len(tokens) == 1 and tokens[0].kind == "number"


def split(tokens: Sequence[Token], sign: str, before: Token | None) -> list[list[Token]]:
    """Split at a sign that stands in no parentheses, and refuse empty parts.

    ``before`` is the token to complain of if there are no tokens at all.
    """
    parts: list[list[Token]] = [[]]
    depth = 0
    last = before
    for token in tokens:
        depth += change_of_depth(token)
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


def closes_at_end(tokens: Sequence[Token]) -> bool:
    """Whether the parenthesis that opens the tokens is closed by the last of them."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += change_of_depth(token)
        if not depth:
            return i == len(tokens) - 1
    return False


def change_of_depth(token: Token) -> int:
    """How many parentheses deeper the tokens after this one are."""
    return (token.sign == "(") - (token.sign == ")")


def span(tokens: Sequence[Token]) -> Token:
    """Several tokens as one, to speak of in a message."""
    return tokens[0]._replace(end=tokens[-1].end)


def cut(text: str) -> str:
    """Quote a formula, or the beginning of a long one."""
    return repr(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")
