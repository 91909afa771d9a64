"""Configuration of Sphinx.  ``make docs`` builds with warnings as errors.

Python in the pages stands in MyST-NB code cells, which run during the build: what a page shows is
what the package printed.  The notebooks are stored with their outputs, and CI runs them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import api_pages

import hiermodels as hm

HERE = Path(__file__).parent
GENERATED = HERE / "generated"

project = "hiermodels"
author = "The hiermodels developers"
copyright = "The hiermodels developers, Apache License 2.0"
version = release = hm.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_static", "_templates"]
templates_path = ["_templates"]
nitpicky = False  # docstrings name types such as "data frame", which are no targets

# Pages.
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_excludepatterns = ["generated/notebooks/*"]  # shown as they are stored
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds for a cell, on a busy machine
nb_merge_streams = True
nb_output_stderr = "warn"  # a page that warns of something says so in its own words

highlight_language = "none"  # literal blocks in docstrings are models, not Python

# Reference: names without their modules, types as the docstrings tell them.
add_module_names = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_context = {"extend_others": api_pages.extend_others()}
autosummary_filename_map = api_pages.file_names()
numpydoc_show_class_members = False  # the template of classes shows them in full

html_theme = "sphinx_book_theme"
html_title = "hiermodels"
html_theme_options = {
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the sidebar has a search field
}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False


def setup(app):  # type: ignore[no-untyped-def]
    """Write the pages that follow from the package, before Sphinx looks for pages."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    (GENERATED / "reference.md").write_text(api_pages.reference())
    shutil.copytree(HERE.parent / "notebooks", GENERATED / "notebooks")
