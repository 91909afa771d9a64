"""The command line: ``hiermodels demo``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hiermodels import __version__
from hiermodels.errors import HierModelsError

EXAMPLES = ("baseball", "schools", "classrooms")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except HierModelsError as error:
        print(f"hiermodels: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hiermodels", description="Bayesian normal hierarchical models, exactly and by NUTS."
    )
    parser.add_argument("--version", action="version", version=f"hiermodels {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="solve an example from the literature")
    demo.add_argument("example", nargs="?", default="baseball", choices=EXAMPLES)
    demo.add_argument(
        "--out", type=Path, default=Path("hiermodels-demo"), help="folder for the picture"
    )
    demo.set_defaults(run=_demo)
    return parser


def _demo(options: argparse.Namespace) -> int:
    import matplotlib

    from hiermodels import demo

    matplotlib.use("Agg")  # pictures go to files
    run: Callable[[Path], None] = getattr(demo, options.example)
    run(options.out)
    return 0
