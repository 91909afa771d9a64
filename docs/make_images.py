"""Run the code of the gallery and save its pictures: ``python docs/make_images.py``.

The gallery is the only place where the calls stand: each cell of code that is followed by a
picture leaves it in ``plot``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from hiermodels.demo import save_plot

FOLDER = Path(__file__).parent
BLOCK = re.compile(
    r"^```\{code-cell\} ipython3\n(.*?)^```$|^!\[[^]]*\]\((.*?)\)$", re.DOTALL | re.MULTILINE
)


def pictures(page: Path = FOLDER / "gallery.md") -> Iterator[tuple[str, Any]]:
    """Run the page from the top; yield the name of each picture, and the picture."""
    scope: dict[str, Any] = {}
    for code, image in BLOCK.findall(page.read_text()):
        if code:
            exec(code, scope)
        else:
            yield image, scope.pop("plot")


if __name__ == "__main__":
    for image, plot in pictures():
        print(save_plot(plot, FOLDER / image))
        mpl.pyplot.close("all")
