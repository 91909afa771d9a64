"""Parts of a page: tables and pictures, or why there is none."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from hiermodels.errors import HierModelsError
from hiermodels.posterior.moments import MEAN
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.tables import Summary
from hiermodels.results.report.html import MAX_ROWS, Html, Picture, element, figure, table
from hiermodels.results.report.subject import Subject

if TYPE_CHECKING:
    from arviz_plots import PlotCollection


DOTS_PER_INCH = 150  # of pictures,
PIXELS_PER_INCH = 100  # shown smaller, for screens that are finer
MAX_PICTURED = 1000  # groups that a picture can tell anything of


def part(make: Callable[..., list[Html]], *arguments: Any) -> list[Html]:
    """Make a part of a page, or say why it cannot be made: the others stand without it."""
    try:
        return make(*arguments)
    except HierModelsError as error:
        return [left_out(str(error).rstrip("."))]
    except Exception as error:  # of a library, of which nothing is known
        return [left_out(f"{type(error).__name__}: {error}".rstrip("."))]


def heading(name: str, column: str) -> Html:
    """Heading of a part about the groups of a column."""
    return element("h3", f"{name}[{column}]")


def small(text: str) -> Html:
    """Say something in small print."""
    return element("p", text, class_="small")


def footnotes(notes: list[str]) -> Html:
    """Print what a table says of itself."""
    return small("; ".join(notes) + ".")


def left_out(reason: str) -> Html:
    """Say why a part is not there."""
    return element("p", f"Left out: {reason}.")


def summary_table(make: Callable[[], Summary], caption: str) -> list[Html]:
    """A table and what it says of itself, or why there is none."""

    def made() -> list[Html]:
        summary = make()
        return [table(summary, caption), footnotes(summary.attrs["notes"])]

    return part(made)


def ordered(frame: pd.DataFrame, column: str) -> tuple[pd.DataFrame, str]:
    """Sort a table of which only the ends are shown, and say so."""
    if len(frame) <= MAX_ROWS:
        return frame, ""
    return frame.sort_values(
        column, ascending=False, kind="stable"
    ), f", the highest {column} first"


def pictures(
    plot: Callable[..., PlotCollection],
    subject: Subject,
    alt: str,
    caption: str,
    *,
    by_effect: bool = False,
) -> list[Html]:
    """A picture of each level, where it is not too crowded to tell anything.

    By effect, there is one for each of several effects of its groups.
    """
    content = []
    for name, column in subject.shown_levels.items():
        members = len(subject.posterior.data.coords[column])
        content.append(heading(name, column))
        if members > MAX_PICTURED:
            content.append(left_out(f"a picture of {members:,} groups would tell nothing"))
        else:
            centre = "mean" if subject.reference.moment_exists(name, MEAN) else "median"
            for effect in subject.effects(name) if by_effect else (None,):
                shown = name if effect is None else f"{name}[{effect}]"
                words = {"name": shown, "column": column, "centre": centre}
                texts = (alt.format(**words), caption.format(**words))
                chosen = {} if effect is None else {"effect": effect}
                content.append(picture(plot, subject.pictured, *texts, level=name, **chosen))
    return content


def picture(
    plot: Callable[..., PlotCollection],
    posterior: Posterior,
    alt: str,
    caption: str,
    **options: Any,
) -> Html:
    """Draw a picture of a posterior, or say why there is none."""
    return draw(lambda **own: plot(posterior, **options, **own), alt, caption)


def draw(plot: Callable[..., PlotCollection], alt: str, caption: str) -> Html:
    """Draw a picture, or say why there is none."""
    (content,) = part(lambda: [_drawn(plot, alt, caption)])
    return content


def _drawn(plot: Callable[..., PlotCollection], alt: str, caption: str) -> Html:
    """Draw with matplotlib in its own style, dollars in labels being dollars."""
    import matplotlib.pyplot as plt

    style: list[Any] = ["default", {"text.parse_math": False}]
    with plt.style.context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # then a box stands for it
        drawn = plot(backend="matplotlib").get_viz("figure")
        try:
            buffer = io.BytesIO()
            drawn.savefig(buffer, dpi=DOTS_PER_INCH, format="png", metadata={"Software": None})
            width, height = (round(side * PIXELS_PER_INCH) for side in drawn.get_size_inches())
        finally:
            plt.close(drawn)
    return figure(Picture(buffer.getvalue(), width, height), alt, caption)
