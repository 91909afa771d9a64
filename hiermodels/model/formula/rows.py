"""What a formula says of the rows: the outcome, its trials or exposure, and an offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hiermodels.model.formula.tokens import PAIRS, Token, span

# Of ``y | function(column)``, as in brms: what the column is to the family.
ADDITIONS = {"trials": "trials", "rate": "exposure", "se": "se"}


def outcome_and_columns(tokens: Sequence[Token], tilde: Token) -> tuple[str, dict[str, str]]:
    """The outcome, and the column of its trials, exposure or known standard errors.

    ``y``, ``y | trials(n)``, ``y | rate(E)`` or ``y | se(s)``, as in brms, or ``p(y, n)``, as in
    bambi.
    """
    if not tokens:
        tilde.refuse("there is no outcome before it. Name a column, as in 'score ~ …'")
    if len(tokens) == 1 and tokens[0].is_column:
        return tokens[0].text, {}
    texts, columns = [token.text for token in tokens], [token.is_column for token in tokens]
    if texts[0] in PAIRS and texts[1:2] == ["("]:
        if len(tokens) == 6 and texts[3] == "," and columns[2] and columns[4] and texts[5] == ")":
            return texts[2], {"trials": texts[4]}
        span(tokens).refuse(
            f"{texts[0]}(…) takes two columns, the counts and the numbers of trials, as in "
            f"p(deaths, cases)"
        )
    if columns[0] and texts[1:2] == ["|"]:
        of = _argument(tokens[2:], ADDITIONS)
        if of:
            return texts[0], {ADDITIONS[texts[2]]: of.text}
        if texts[2:3] == ["weights"]:
            span(tokens).refuse(
                "brms's weights multiply log likelihoods. Here weights='column', beside the "
                "formula, divide the variances of rows, as in lme4"
            )
        span(tokens).refuse(
            "after an outcome and |, trials(column), rate(column) or se(column) are understood, "
            "as in deaths | trials(cases)"
        )
    span(tokens).refuse(
        "expected the outcome, a single column. Make the column in the data frame first, and use "
        "its name; counts may be written deaths | trials(cases) or p(deaths, cases)"
    )


def is_offset(tokens: Sequence[Token]) -> bool:
    """Whether it is a call of ``offset``."""
    return [token.text for token in tokens[:2]] == ["offset", "("]


def offset_columns(summands: Sequence[Sequence[Token]]) -> dict[str, str]:
    """Columns of ``offset(x)``, and of ``offset(log(E))``, which says that E is an exposure."""
    columns: dict[str, str] = {}
    for part in summands:
        if not is_offset(part):
            continue
        plain = _argument(part, ("offset",))
        logarithm = _argument(part[2:-1], ("log",)) if len(part) > 3 else None
        role = "offset" if plain else "exposure"
        column = plain or logarithm
        if column is None:
            span(part).refuse(
                "offset(…) takes one column, or the logarithm of one, as in offset(log(expected))"
            )
        if role in columns:
            span(part).refuse("there is one already. Add them up in the data frame first")
        columns[role] = column.text
    return columns


def _argument(
    tokens: Sequence[Token], functions: Sequence[str] | Mapping[str, str]
) -> Token | None:
    """The column in a call of one of some functions; None if it is no such call."""
    is_call = len(tokens) == 4 and tokens[0].text in functions and tokens[2].is_column
    return tokens[2] if is_call and (tokens[1].sign, tokens[3].sign) == ("(", ")") else None
