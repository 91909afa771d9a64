"""Leave in stored notebooks what readers see: no times, no versions, no traces of one machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def strip(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook without the metadata of its execution, its printed text in one piece."""
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        kept = cell | {"id": f"cell-{number}", "metadata": {}}
        if "outputs" in cell:
            kept["outputs"] = join_streams(cell["outputs"])
        cells.append(kept)
    return notebook | {"cells": cells, "metadata": METADATA}


def join_streams(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join what was printed piece by piece."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        before = joined[-1] if joined else {}
        if "name" in output and output["name"] == before.get("name"):
            joined[-1] = before | {"text": [*before["text"], *output["text"]]}
        else:
            joined.append(output)
    return joined


if __name__ == "__main__":
    for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        text = json.dumps(strip(json.loads(path.read_text())), indent=1, ensure_ascii=False)
        path.write_text(text + "\n")
