"""Pages in HTML that need nothing but themselves: no scripts, nothing that is loaded.

Text becomes HTML in one place only, :func:`element`, which escapes all that it is given unless it
was made here.  So no label, column or file name can add to a page anything but text.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from hiermodels.posterior.tables import shown

VOID = ("img", "meta")  # elements without content, and without an end
MAX_ROWS = 60  # of a table; of a longer one
END_ROWS = 20  # the first and the last so many are shown
DIGITS = 4  # of numbers in tables, which are to fit the page
NO_NUMBER = "–"  # where a moment does not exist
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # forbids all else
STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; color: #1c1e21; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
header, main, footer { max-width: 64rem; margin: 0 auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 1.5rem 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .6rem; padding-bottom: .2rem;
  border-bottom: 2px solid #2a6496; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
p, li, figcaption { overflow-wrap: anywhere; }
a { color: #1f5582; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 1rem; background: #fff; padding: .5rem; }
nav { margin: 1rem 0; padding: .7rem 1rem; background: #f2f5f8; border-radius: .4rem; }
nav ol { margin: 0; padding-left: 1.3rem; columns: 16rem; }
pre { margin: .6rem 0; padding: .8rem 1rem; background: #f2f5f8; border-radius: .4rem;
  overflow-x: auto; font: .88rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
table.numbers { width: max-content; }
caption { text-align: left; padding: .2rem 0 .4rem; color: #4a4f55; }
caption span { display: block; max-width: calc(100vw - 2rem); overflow-wrap: anywhere; }
th, td { padding: .22rem .7rem; text-align: right; vertical-align: top; white-space: nowrap; }
thead th { border-bottom: 1.5px solid #6b7178; }
tbody tr:nth-child(even) { background: #f7f9fa; }
th.text, td.text { text-align: left; white-space: normal; overflow-wrap: break-word;
  max-width: 20rem; }
table.facts .text { overflow-wrap: anywhere; max-width: none; }
table.facts th { min-width: 8rem; }
tbody th { font-weight: 600; }
td.gap { text-align: left; color: #4a4f55; font-style: italic; }
.note { margin: .8rem 0; padding: .6rem 1rem; border-left: .3rem solid #b35900;
  background: #fff6ea; overflow-wrap: anywhere; }
.small { font-size: .85rem; color: #4a4f55; }
figure { margin: 1rem 0 1.6rem; }
figure .scroll { margin: 0; }
img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: .9rem; color: #4a4f55; margin-top: .3rem; }
footer { margin-top: 3rem; padding-bottom: 2rem; }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  th, td { padding: .2rem .45rem; }
  th.text, td.text { max-width: 11rem; }
  table.facts th { min-width: 7.5rem; }
  img { min-width: min(38rem, var(--width)); max-width: none; width: 100%; }
}
@media print {
  body { font-size: 10pt; }
  .skip, nav { display: none; }
  .scroll, pre { overflow: visible; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  table { font-size: 8pt; }
  th, td { padding: .1rem .35rem; }
  h2, h3, caption { break-after: avoid; }
  figure, tr, .note { break-inside: avoid; }
  img { max-height: 22cm; width: auto; }
}
"""


class Html(str):
    """Text that is HTML already; made by :func:`element`."""

    __slots__ = ()


@dataclass(frozen=True)
class Picture:
    """A picture in the format PNG."""

    png: bytes
    width: int  # on the page, in CSS pixels
    height: int


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    name: str  # to which the table of contents leads; the author's own, a word
    title: str
    content: tuple[Html, ...]


def element(tag: str, *content: str, **attributes: object) -> Html:
    """Return an element; content and attributes are escaped unless they are :class:`Html`.

    Parameters
    ----------
    tag : str
    *content : str
    **attributes
        With ``_`` for ``-``; a ``_`` at the end is left out, as in ``class_``.

    Examples
    --------
    >>> from hiermodels.results.report.html import element
    >>> print(element("p", "a < b ", element("b", "so"), class_="x"))
    <p class="x">a &lt; b <b>so</b></p>
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
    )
    if tag in VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{joined(content)}</{tag}>")


def joined(parts: Iterable[str]) -> Html:
    """Put text and HTML together."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def listing(items: Iterable[str]) -> Html:
    """A list of paragraphs."""
    return element("ul", *(element("li", item) for item in items))


def definitions(rows: Iterable[tuple[str, str]], caption: str) -> Html:
    """A table of names and what there is to say of each."""
    body = [
        element("tr", _head(name, "row", text=True), element("td", text, class_="text"))
        for name, text in rows
    ]
    return element("table", _caption(caption), element("tbody", *body), class_="facts")


def table(frame: pd.DataFrame, caption: str) -> Html:
    """A data frame, its index as headers of the rows; of a long one the two ends.

    Parameters
    ----------
    frame : DataFrame
    caption : str
        Also what a screen reader calls the table.
    """
    head = [_head(str(name or ""), "col", text=True) for name in frame.index.names]
    head += [_head(str(name), "col", text=_is_text(frame[name])) for name in frame.columns]
    places = range(len(frame))
    if len(frame) <= MAX_ROWS:
        body = [_row(frame, i) for i in places]
    else:
        gap = f"… {len(frame) - 2 * END_ROWS:,} rows between are not shown …"
        between = element("tr", element("td", gap, colspan=len(head), class_="gap"))
        first, last = places[:END_ROWS], places[-END_ROWS:]
        body = [*(_row(frame, i) for i in first), between, *(_row(frame, i) for i in last)]
    return _scrolling(
        element(
            "table",
            _caption(caption),
            element("thead", element("tr", *head)),
            element("tbody", *body),
            class_="numbers",
        ),
        caption,
    )


def _row(frame: pd.DataFrame, place: int) -> Html:
    label = frame.index[place]
    labels = label if isinstance(label, tuple) else (label,)
    heads = [_head(str(part), "row", text=True) for part in labels]
    digits = min(DIGITS, frame.attrs.get("digits", DIGITS))
    cells = (_cell(frame[name].iloc[place], digits) for name in frame.columns)
    return element("tr", *heads, *cells)


def _head(name: str, scope: str, *, text: bool) -> Html:
    return element("th", name, scope=scope, **({"class_": "text"} if text else {}))


def _caption(text: str) -> Html:
    """A caption that is no wider than the screen, where its table is."""
    return element("caption", element("span", text))


def _is_text(column: pd.Series[Any]) -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def _cell(value: Any, digits: int) -> Html:
    if isinstance(value, str):
        return element("td", value, class_="text")
    if isinstance(value, int | np.integer):
        return element("td", f"{value:,}")
    return element("td", NO_NUMBER if np.isnan(value) else shown(float(f"{value:.{digits}g}")))


def _scrolling(content: Html, name: str) -> Html:
    """What may be wider than a phone, so that it alone is moved sideways, by keys too."""
    return element("div", content, class_="scroll", role="region", aria_label=name, tabindex=0)


def figure(picture: Picture, alt: str, caption: str) -> Html:
    """A picture, inside the page.

    Parameters
    ----------
    picture : Picture
    alt : str
        What it shows, for who does not see it.
    caption : str
    """
    image = element(
        "img",
        src=f"data:image/png;base64,{b64encode(picture.png).decode()}",
        alt=alt,
        width=picture.width,
        height=picture.height,
        style=f"--width: {picture.width}px",
    )
    return element("figure", _scrolling(image, caption), element("figcaption", caption))


def page(title: str, lead: Sequence[Html], sections: Sequence[Section], end: str) -> str:
    """Return a whole page with a table of contents.

    Parameters
    ----------
    title : str
    lead : sequence of Html
        What stands before the table of contents.
    sections : sequence of Section
    end : str
        What stands below all else.
    """
    contents = [element("li", element("a", s.title, href=f"#{s.name}")) for s in sections]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    body = element(
        "body",
        element("a", "Skip to the report", href="#main", class_="skip"),
        element("header", element("h1", title), *lead),
        element(
            "main",
            element("nav", element("ol", *contents), aria_label="Contents"),
            *(_section(section) for section in sections),
            id="main",
        ),
        element("footer", element("p", end, class_="small")),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _section(section: Section) -> Html:
    title = element("h2", section.title, id=f"{section.name}-title")
    labelled = f"{section.name}-title"
    content = [Html(f"{part}\n") for part in section.content]
    return element("section", title, *content, id=section.name, aria_labelledby=labelled)
