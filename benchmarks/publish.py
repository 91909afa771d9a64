"""Take the figures of docs/benchmarks.md that stand in tables, and put them there.

``make figures`` measures (some ten minutes), writes ``results.json``, and from it
the tables and the picture; ``make figures ARGS=--render`` does the last only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bench_lazy
import bench_peers
import numpy as np
from measure import COMPARED, RESULTS, describe_machine, save

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "benchmarks.md", DOCS / "images" / "benchmarks.png"
NEAR = 0.06  # labels that are closer than this part of a panel's height are moved apart
type Found = dict[str, Any]


def measure() -> None:
    """Run the benchmarks and keep their results."""
    save("machine", describe_machine(*COMPARED, "polars", "duckdb") + others_at_work())
    for part, bench in (bench_peers.PARTS | bench_lazy.PARTS).items():
        save(part, bench())


def others_at_work() -> str:
    """A remark, where other programs keep the machine busy."""
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    return f"; with other programs at work, {load:.1f} for each core" if load > 0.5 else ""


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
    for heading, (value, written) in bench_peers.QUANTITIES.items():
        rows = []
        for name, peer in bench_peers.with_values(found, value).items():
            slope = [f"{peer['exponent']:.2f}" if "exponent" in peer else ""]
            cells = bench_peers.row(peer["runs"], found["sizes"], value, written)
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
    rows = [bench_lazy.cells_of_memory(line) for line in found["found"]]
    table = markdown(bench_lazy.HEADER_OF_MEMORY, rows)
    return f"{table}\n\nThe files have {found['files'] / 1e6:,.0f} MB."


# --- picture --------------------------------------------------------------------------------------


def draw(found: Found) -> None:
    """Time, memory and effective draws against the number of groups, each line with its name."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    quantities = bench_peers.QUANTITIES.items()
    figure, axes = plt.subplots(1, len(quantities), figsize=(13, 4.2), layout="constrained")
    colours = {name: f"C{i}" for i, name in enumerate(found["peers"])}
    for ax, (title, (value, _)) in zip(axes, quantities, strict=True):
        ax.set(title=title + (", s" if title == "Time" else ""), xlabel="groups")
        ends, heights = [], []
        for name, peer in bench_peers.with_values(found, value).items():
            done = bench_peers.finished(peer["runs"])
            x, y = [run["groups"] for run in done], [value(run) for run in done]
            width = 2.5 if name == "hiermodels" else 1.5
            ax.loglog(x, y, "o-", color=colours[name], linewidth=width, markersize=4)
            ends.append((x[-1], y[-1], name, colours[name]))
            heights += y
        low, high = np.log10(min(heights)), np.log10(max(heights))
        ax.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))
        ax.set_xlim(right=found["sizes"][-1] * 40)
        ax.set_xticks(found["sizes"], [f"{size:,}" for size in found["sizes"]], fontsize=8)
        ax.yaxis.set_major_formatter("{x:,g}")
        ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
        label(ax, ends)
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


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
        style = {"color": colour, "va": "center", "fontsize": 9}
        ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
        ax.text(*at, name, transform=ax.transAxes, bbox=ground, **style)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", action="store_true", help="use the results that are there")
    if not parser.parse_args().render:
        measure()
    render()
