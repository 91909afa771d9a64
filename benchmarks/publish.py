"""Take the figures of docs/benchmarks.md that stand in tables, and put them there.

``make figures`` measures (some ten minutes), writes ``results.json``, and from it
the tables and the picture; ``make figures ARGS=--render`` does the last only.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bench_lazy
import bench_peers
from measure import COMPARED, RESULTS, describe_machine, duration, save

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "benchmarks.md", DOCS / "images" / "benchmarks.png"
PANELS = {
    "seconds": "time, s",
    "peak": "peak memory, GiB",
    "rate": "effective draws per second",
}
NEAR = 0.1  # labels that are closer than this part of a panel's height are moved apart
type Found = dict[str, Any]


def measure() -> None:
    """Run the benchmarks and keep their results."""
    save("machine", describe_machine(*COMPARED, "polars", "duckdb"))
    for part, bench in (bench_peers.PARTS | bench_lazy.PARTS).items():
        save(part, bench())


def render() -> None:
    """Write tables and picture from the results."""
    results = json.loads(RESULTS.read_text())
    draw(results["peers"])
    blocks = {
        "machine": f"{results['machine']}.",
        "peers": peers(results["peers"]),
        "classrooms": classrooms(results["classrooms"]),
        "memory": memory(results["memory"]),
    }
    text = PAGE.read_text()
    for name, block in blocks.items():
        mark = re.compile(f"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text, count = mark.subn(lambda found, b=block: f"{found[1]}\n{b}\n\n{found[2]}", text)
        if count != 1:
            raise ValueError(f"{PAGE.name}: expected one block {name!r}; found {count}")
    PAGE.write_text(text)


# --- tables ---------------------------------------------------------------------------------------


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, its first column flush left and the others flush right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def peers(found: Found) -> str:
    """Times, memory and effective draws by program and number of groups."""
    sizes = [f"{size:,}" for size in found["sizes"]]
    blocks = []
    for heading, cell in bench_peers.CELLS.items():
        rows = []
        for name, peer in found["peers"].items():
            slope = [f"{peer['exponent']:.2f}" if "exponent" in peer else ""]
            cells = bench_peers.row(peer["runs"], found["sizes"], cell)
            rows.append([name, *cells, *(slope if heading == "Time" else [])])
        header = [heading, *sizes, *(["exponent"] if heading == "Time" else [])]
        blocks.append(markdown(header, rows))
    versions = "; ".join(peer["versions"] for peer in found["peers"].values())
    return "\n\n".join([*blocks, f"Versions: {versions}."])


def classrooms(found: Found) -> str:
    """Fits beside the engine's own mean."""
    return markdown(bench_lazy.HEADER, [bench_lazy.cells(line) for line in found["found"]])


def memory(found: Found) -> str:
    """Fits out of core."""
    allowed = f"in all, with {bench_lazy.MOST_GIB:g} GiB allowed"
    rows = [
        [line["engine"], str(line["covariates"]), duration(line["reduce"]),
         duration(line["total"]), f"{line['peak']:.2f}", line["allowed"]]
        for line in found["found"]
    ]  # fmt: skip
    table = markdown(["engine", "covariates", "statistics", "in all", "peak, GiB", allowed], rows)
    size = (
        f"The files have {found['files'] / 1e6:,.0f} MB; their four columns take "
        f"{found['raw']:.2f} GiB in memory."
    )
    return f"{table}\n\n{size}"


# --- picture --------------------------------------------------------------------------------------


def draw(found: Found) -> None:
    """Time, memory and effective draws against the number of groups, each line with its name."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 4.2), layout="constrained")
    for ax, (quantity, title) in zip(axes, PANELS.items(), strict=True):
        ends = []
        for i, (name, peer) in enumerate(found["peers"].items()):
            done = [run for run in bench_peers.finished(peer["runs"]) if VALUE[quantity](run)]
            if done:
                x, y = zip(*((run["groups"], VALUE[quantity](run)) for run in done), strict=True)
                width = 2.5 if name == "hiermodels" else 1.5
                ax.loglog(x, y, "o-", color=f"C{i}", linewidth=width, markersize=4)
                ends.append((x[-1], y[-1], name, f"C{i}"))
        ax.set(title=title, xlabel="groups")
        ax.set_xlim(right=found["sizes"][-1] * 40)
        ax.set_xticks(found["sizes"])
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
        label(ax, ends)
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


VALUE: dict[str, Callable[[Found], float | None]] = {
    "seconds": lambda run: run["seconds"],
    "peak": lambda run: run["peak"],
    "rate": lambda run: run["effective"] / run["seconds"] if "effective" in run else None,
}


def label(ax: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name to the right of its end, those that would overlap one above another.

    Names at the same height overlap where their ends stand close to each other.
    """
    to_axes = ax.transData + ax.transAxes.inverted()
    places: list[tuple[float, float]] = []
    for x, y, name, colour in sorted(ends, key=lambda end: end[1]):
        across, up = to_axes.transform((x, y))
        for other_across, other_up in places:
            if abs(other_across - across) < 0.45 and up - other_up < NEAR:
                up = other_up + NEAR
        places.append((across, up))
        at = (across + 0.02, up)
        ax.text(*at, name, color=colour, transform=ax.transAxes, va="center", fontsize=9)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", action="store_true", help="use the results that are there")
    if not parser.parse_args().render:
        measure()
    render()
