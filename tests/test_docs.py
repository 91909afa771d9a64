"""The documentation: its code runs at each build, its reference is complete, notebooks are whole.

``make docs`` builds the pages, with warnings as errors; ``make notebooks`` runs the notebooks.
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

import hiermodels as hm
from tests.test_layout import ROOMS

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
RUN_ELSEWHERE = ["gallery"]  # docs/make_images.py runs it, and test_examples
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 2_000_000  # bytes, of all notebooks together


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem not in RUN_ELSEWHERE], ids=lambda page: page.stem
)
def test_python_in_a_page_is_a_cell_that_runs(page):
    text = page.read_text()
    assert not re.search(r"^```\{?(code-block\} )?(python|pycon|ipython)", text, re.MULTILINE)
    assert ("{code-cell}" in text) == ("file_format: mystnb" in text)


def test_every_page_is_in_a_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text()
    listed = {
        line for toc in re.findall(r"{toctree}(.*?)```", index, re.DOTALL) for line in toc.split()
    }
    assert {page.stem for page in PAGES} - {"index"} <= listed


def test_the_reference_lists_every_public_name():
    page = runpy.run_path(str(ROOT / "docs" / "api_pages.py"))["reference"]()
    for name in hm.__all__:
        assert re.search(rf"hiermodels\.{name}\b", page), name


def test_the_table_of_rooms_is_the_one_that_is_tested():
    rows = re.findall(
        r"^\| (`[a-z`, ]+`) \| [^\d|]+ \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert named == [name for name in ROOMS if name != "hiermodels"]


def test_every_promise_names_tests_that_exist():
    page = (ROOT / "docs" / "promises.md").read_text()
    rows = re.findall(r"^\| (?!promised|---)(.*) \| (.*) \|$", page, re.MULTILINE)
    assert rows
    for promised, tests in rows:
        named = re.findall(r"`((?:\w+/)*test_\w+\.py)::(test_\w+)`", tests)
        assert len(named) == tests.count("`") / 2 > 0, promised
        for file, name in named:
            assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_ran(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs)
    strip = runpy.run_path(str(path.parent / "strip_metadata.py"))["strip"]
    assert notebook == strip(notebook)


def test_notebooks_are_small():
    assert 0 < sum(path.stat().st_size for path in NOTEBOOKS) < LARGEST
