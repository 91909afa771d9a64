"""Whether a sum of terms has an intercept, which ``0`` and ``- 1`` take out."""

from __future__ import annotations

from collections.abc import Sequence

from hiermodels.model.formula.tokens import Token, change_of_depth, is_number

_MINUS = (
    "only the intercept can be taken out, as 0 + x or x - 1. Of other terms, write only those that "
    "are wanted"
)


def with_zero(tokens: Sequence[Token]) -> list[Token]:
    """Write ``- 1`` as ``+ 0``; nothing else can be taken out.

    What varies between groups, in parentheses with a bar, is left as it is.
    """
    written: list[Token] = []
    depth, apart = 0, _in_groups(tokens)
    for i, token in enumerate(tokens):
        depth += change_of_depth(token)
        if i in apart:
            written.append(token)
        elif token.sign == "-":
            if depth or [following.text for following in tokens[i + 1 : i + 2]] != ["1"]:
                token.refuse(_MINUS)
            if written and written[-1].sign != "+":
                written.append(token._replace(text="+"))
        elif i and tokens[i - 1].sign == "-":
            written.append(token._replace(text="0"))
        else:
            written.append(token)
    return written


def _in_groups(tokens: Sequence[Token]) -> set[int]:
    """Places of the tokens in parentheses that have a bar."""
    inside: set[int] = set()
    depth, first = 0, 0
    for i, token in enumerate(tokens):
        first = i if not depth else first
        depth += change_of_depth(token)
        if not depth and any(part.sign in ("|", "||") for part in tokens[first:i]):
            inside.update(range(first, i + 1))
    return inside


def has_intercept(summands: Sequence[Sequence[Token]]) -> bool:
    """Whether there is an intercept, which 0 takes out and 1 says."""
    numbers = [part[0] for part in summands if is_number(part)]
    for token in numbers:
        if token.text != numbers[0].text:
            token.refuse("an intercept is both asked for and taken out. Write 1, or 0, or nothing")
    return not numbers or numbers[0].text == "1"
