"""What data may be, as calls to copy, where their roles cannot be inferred."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from hiermodels.data.known_columns import Columns
from hiermodels.model.formula.terms import quote

MOST = 3  # calls in a message


def as_code(calls: Sequence[str]) -> str:
    """A few calls to end a message with; empty if there are none."""
    return f". For example: {'; or '.join(calls[:MOST])}" if calls else ""


def readings_of_counts(frame: Columns) -> list[str]:
    """Calls for whole numbers that may be successes out of trials, or events.

    Successes are nowhere more than their trials, and somewhere fewer.
    """
    names = frame.columns
    whole = {name: values for name in names if (values := frame.whole_numbers(name)) is not None}
    if not whole:
        return []
    groups = _most_labels(frame)
    pairs = [
        (count, trials)
        for count, trials in permutations(whole, 2)
        if (whole[count] <= whole[trials]).all() and (whole[count] < whole[trials]).any()
    ]
    if pairs:
        return [
            f"hm.fit(df, outcome={count!r}, trials={trials!r}, groups={groups!r})"
            for count, trials in pairs
        ]
    exposures = [name for name in names if frame.is_continuous(name)]
    return [
        f"hm.fit(df, outcome={count!r}, exposure={exposure!r}, groups={groups!r})"
        for count in whole
        for exposure in exposures
    ]


def readings_of_labels(frame: Columns, outcome: str, names: Sequence[str]) -> list[str]:
    """Calls for two columns of labels that are not nested as they stand: crossed, or one in one.

    The latter, where each outer label has inner ones of its own, needs cells of several rows.
    """
    if len(names) != 2:
        return []
    outer, inner = sorted(names, key=lambda name: -_number(frame, name))
    cells = list(zip(frame.strings(outer), frame.strings(inner), strict=True))
    crossed = [
        f"hm.fit(df, '{quote(outcome)} ~ 1 + (1 | {quote(outer)}) + (1 | {quote(inner)})')",
    ]
    nested = [
        f"where each {outer} has its own {inner}, hm.fit(df, outcome={outcome!r}, "
        f"groups={[outer, inner]!r})"
    ]
    return crossed + (nested if len(set(cells)) < len(cells) else [])


def readings_beside(
    frame: Columns, outcome: str, groups: Sequence[str], inferred: Sequence[str]
) -> list[str]:
    """Calls for other roles than those that were inferred, with which no posterior exists.

    Counts are thought of where each group has one row.
    """
    labels = frame.strings(groups[-1]) if groups else []
    may_count = "outcome" in inferred and len(set(labels)) == len(labels)
    calls = readings_of_counts(frame) if may_count else []
    if "groups" in inferred and len(groups) > 1:
        inner = groups[1] if len(groups) == 2 else list(groups[1:])
        calls.append(f"hm.fit(df, outcome={outcome!r}, groups={inner!r}, covariates={groups[0]!r})")
    return calls


def _most_labels(frame: Columns) -> str:
    """The column of labels with the most of them."""
    labels = [name for name in frame.columns if frame.is_label(name)]
    return max(labels, key=lambda name: _number(frame, name)) if labels else "…"


def _number(frame: Columns, name: str) -> int:
    return len(set(frame.strings(name)))
