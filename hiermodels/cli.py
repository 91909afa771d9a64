"""The command line: ``hiermodels demo``, ``hiermodels fit``, ``hiermodels compare``."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiermodels import __version__
from hiermodels.core.files import read_matrix
from hiermodels.core.messages import printable
from hiermodels.errors import HierModelsError, SpecError
from hiermodels.families.registry import family_names
from hiermodels.io.read_tables import read_table
from hiermodels.model.priors.base import Priors
from hiermodels.model.priors.registry import PRIORS, parse_prior
from hiermodels.model.priors.sets import LECTURE, WEAK

if TYPE_CHECKING:
    from hiermodels.api.result import Fit

EXAMPLES = ("baseball", "schools", "classrooms", "sleepstudy", "penicillin", "hospitals", "baskets")
DISAGREE = 1  # exit code of a comparison that the draws do not pass
SHOWN: Any = {"float_format": "{:.4g}".format, "max_rows": 60}
WRONG_INPUT = 2  # exit code where something is wrong with what was given

_ASSIGNED = re.compile(r"(?P<name>[^=\[]+(\[.*\])?)=(?P<value>.+)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _tell
        try:
            return int(options.run(options))
        except (HierModelsError, OSError) as error:
            _tell(error)
        except MemoryError:
            _tell("this needs more memory than there is; ask for fewer draws")
    return WRONG_INPUT


def _tell(message: object, *_: object, **__: object) -> None:
    """Print a message, without where in the code it arose."""
    print(printable(f"hiermodels: {message}"), file=sys.stderr)


def _show(text: object) -> None:
    """Print a result; its labels may come from a file that somebody else has made."""
    print(printable(f"{text}"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hiermodels", description="Bayesian hierarchical models, exactly and by NUTS."
    )
    parser.add_argument("--version", action="version", version=f"hiermodels {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="solve an example from the literature")
    demo.add_argument("example", nargs="?", default="baseball", choices=EXAMPLES)
    demo.add_argument(
        "--out", type=Path, default=Path("hiermodels-demo"), help="folder for the picture"
    )
    demo.set_defaults(run=_demo)
    _add_fit(commands)
    _add_compare(commands)
    return parser


def _add_fit(commands: Any) -> None:
    command = commands.add_parser(
        "fit",
        help="fit a model to a table in a file",
        description="Fit a hierarchical model, show it and its summary, and save it.",
    )
    _add_model(command, "data")
    command.add_argument(
        "--engine",
        default="exact",
        help="exact: independent draws from the exact posterior (default); importance: resampled "
        "draws of counts, where exact ones take too long; nuts: PyMC's sampler",
    )
    command.add_argument("--draws", type=int, default=1000, help="draws in each chain (1000)")
    command.add_argument("--chains", type=int, default=4, help="number of chains (4)")
    command.add_argument("--seed", type=_seed, help="the same seed gives the same draws")
    command.add_argument(
        "--out", type=Path, metavar="FIT.nc", help="save the fit, for hiermodels.load and ArviZ"
    )
    command.add_argument(
        "--report",
        type=Path,
        metavar="REPORT.html",
        help="write a page with tables and pictures, to be read in a browser or printed",
    )
    command.set_defaults(run=_fit)


def _add_compare(commands: Any) -> None:
    command = commands.add_parser(
        "compare",
        help="say whether draws agree with the exact posterior",
        description="Compare draws with the exact posterior: that of a saved fit, or that of a "
        "table (--data) and a model of it.  The exit code is 0 if they agree, 1 if they do not, "
        "2 if something is wrong with what was given.",
    )
    command.add_argument(
        "mcmc", type=Path, metavar="DRAWS.nc", help="a saved fit, or any netCDF file of ArviZ"
    )
    command.add_argument(
        "exact", type=Path, nargs="?", metavar="FIT.nc", help="a saved fit of the same model"
    )
    _add_model(command, "--data")
    command.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="NAME=OTHER",
        help="what the draws call a variable or dimension of this package, such as "
        "tau=sd_school; may be repeated",
    )
    command.add_argument(
        "--alpha", type=float, default=0.01, help="probability of a false alarm (0.01)"
    )
    command.set_defaults(run=_compare)


def _add_model(command: argparse.ArgumentParser, data: str) -> None:
    """Add the data, under this name, and what says which model of them it is."""
    command.add_argument(
        data, type=Path, metavar="FILE", help="table, .csv or .parquet, or a folder of .parquet"
    )
    model = command.add_argument_group(
        "model", "Columns that are not given are inferred where there is one reading only."
    )
    model.add_argument("--formula", help="such as 'score ~ ses + (1 | school/classroom)'")
    model.add_argument("--outcome", metavar="COLUMN")
    model.add_argument(
        "--groups",
        type=_columns,
        metavar="OUTER,INNER",
        help="columns of labels, from the outer to the inner level; '' for one population",
    )
    _add_errors(model)
    model.add_argument(
        "--covariates", type=_columns, metavar="COLUMN,…", help="columns of covariates"
    )
    _add_counts(model)
    _add_priors(model)
    model.add_argument(
        "--missing",
        choices=("error", "drop"),
        default="error",
        help="what to do with rows in which a needed value is missing (error)",
    )
    model.add_argument(
        "--lazy",
        action="store_true",
        help="scan .parquet with polars, group by group, without loading the rows; so it is done "
        "with a folder in any case",
    )


def _add_errors(model: argparse._ArgumentGroup) -> None:
    """Add what says which errors of the rows are known."""
    errors = model.add_mutually_exclusive_group()
    errors.add_argument("--se", metavar="COLUMN", help="known standard errors of the outcome")
    errors.add_argument("--variance", metavar="COLUMN", help="known variances of the outcome")
    errors.add_argument(
        "--covariance",
        type=Path,
        metavar="FILE",
        help="known covariances of the rows' errors: a matrix, .csv without names, or .npy",
    )
    errors.add_argument(
        "--no-se",
        dest="se",
        action="store_const",
        const=False,
        help="the errors are unknown, whatever columns are called",
    )
    model.add_argument(
        "--sampling-correlation",
        type=float,
        metavar="R",
        help="correlation of known errors of rows of one outermost group",
    )


def _add_counts(model: argparse._ArgumentGroup) -> None:
    """Add what says that rows are not normal, and the columns that they have then."""
    model.add_argument(
        "--family",
        help=f"distribution of the rows, {family_names()}; binomial where there are --trials, "
        f"poisson where there is an --exposure",
    )
    model.add_argument(
        "--trials", metavar="COLUMN", help="numbers of trials, of which successes are counted"
    )
    model.add_argument(
        "--exposure", metavar="COLUMN", help="what counts are proportional to, such as hours"
    )
    model.add_argument(
        "--offset", metavar="COLUMN", help="known part of the linear predictor of counts"
    )
    model.add_argument(
        "--weights", metavar="COLUMN", help="weights of normal rows, of variance sigma²/weight"
    )
    model.add_argument(
        "--residual-by", metavar="COLUMN", help="a residual sd of normal rows for each label of it"
    )


def _add_priors(model: argparse._ArgumentGroup) -> None:
    """Add what says the priors: one by one, or as a set."""
    model.add_argument(
        "--prior",
        action="append",
        default=[],
        metavar="NAME=PRIOR",
        help=f"such as 'tau=HalfNormal(5)'; may be repeated; known: {', '.join(PRIORS)}",
    )
    model.add_argument(
        "--priors",
        choices=(WEAK, LECTURE),
        help="a set of priors, in place of --prior; weak: half-t with 3 degrees of freedom on all "
        "sds, with the scale max(2.5, mad of the outcome), or 2.5 for counts; lecture: flat on "
        "variances (default)",
    )


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0; found {text!r}")
    return int(text)


def _columns(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")] if text.strip() else []


def _demo(options: argparse.Namespace) -> int:
    import matplotlib

    from hiermodels import demo

    matplotlib.use("Agg")  # pictures go to files
    run: Callable[[Path], None] = getattr(demo, options.example)
    run(options.out)
    return 0


def _fit(options: argparse.Namespace) -> int:
    from hiermodels.api.fitting import fit
    from hiermodels.core import files
    from hiermodels.data.covariates import locate
    from hiermodels.data.lazy import as_lazy
    from hiermodels.posterior.moments import NO_MOMENT

    written = [files.target(path) for path in (options.out, options.report) if path]
    if options.data.resolve() in written:
        raise SpecError(
            f"expected another file to write to; {str(options.data)!r} is the table itself"
        )
    if len(set(written)) < len(written):  # both rather now than after an hour
        raise SpecError(
            f"--report: expected another file than --out; both are {str(options.out)!r}"
        )
    table = read_table(options.data, options.lazy)
    if options.report and as_lazy(table) is not None:
        raise SpecError(
            f"--report: expected a table whose rows are loaded; {str(options.data)!r} is scanned "
            f"group by group. Leave out --report, or give one file and leave out --lazy"
        )
    result = fit(
        table,
        **_model(options),
        engine=options.engine,
        draws=options.draws,
        chains=options.chains,
        random_seed=options.seed,
    )
    summary, where = result.summary(), locate(result.data).words
    said = [f"effects {where}\n"] if where else []
    said += [f"{note}\n" for note in summary.attrs["notes"] if note.startswith(NO_MOMENT)]
    _show(f"{result}\n\n{''.join(said)}{summary.to_string(**SHOWN)}")
    if options.out:
        _show(f"\nsaved as {result.to_netcdf(options.out)}")
    if options.report:
        _write_report(result, options)
    return 0


def _write_report(result: Fit, options: argparse.Namespace) -> None:
    """Write a page, and tell what is being made: pictures of many groups take their time."""
    import matplotlib

    matplotlib.use("Agg")  # pictures go to files
    path = result.report(
        options.report,
        source=options.data,
        progress=lambda title: _tell(f"report: {title} …"),
    )
    _show(f"\nreport in {path}")


def _compare(options: argparse.Namespace) -> int:
    from hiermodels.api.comparing import compare
    from hiermodels.api.loading import load
    from hiermodels.api.noise_free import reference
    from hiermodels.io.netcdf import is_saved_fit, read_draws

    if (options.exact is None) == (options.data is None):
        raise SpecError("compare: give either a saved fit, FIT.nc, or a table with --data FILE")
    given = [name for name, value in _model(options).items() if _is_given(value)]
    if options.exact and given:
        raise SpecError(f"compare: {given[0]} belongs to --data; the saved fit has its own model")
    exact: Any = load(options.exact) if options.exact else None
    exact = exact or reference(read_table(options.data, options.lazy), **_model(options))
    pairs = dict(_assigned("--rename", text, "tau=sd_school") for text in options.rename)
    # A saved fit knows its model and data, and is refused if they are others.
    draws: Any = load(options.mcmc) if is_saved_fit(options.mcmc) and not pairs else None
    draws = draws or read_draws(options.mcmc)
    rename = {theirs: ours for ours, theirs in pairs.items()}
    result = compare(draws, exact, options.alpha, rename=rename)
    _show(result)
    return 0 if result.passed else DISAGREE


def _is_given(value: Any) -> bool:
    """Whether an argument is another than its default."""
    return value is not None and not (isinstance(value, str | dict) and value in ("error", {}))


def _model(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``fit`` and ``reference`` that say which model it is."""
    rows = ("family", "trials", "exposure", "offset", "weights", "residual_by")
    names = ("formula", "outcome", "groups", "se", "variance", "covariates", "missing", *rows)
    known = {"sampling_correlation": options.sampling_correlation}
    known |= {"covariance": read_matrix(options.covariance) if options.covariance else None}
    known |= {"priors": _priors(options)}
    return {name: getattr(options, name) for name in names} | known


def _priors(options: argparse.Namespace) -> Priors:
    if options.priors:
        if options.prior:
            raise SpecError("--priors: give either the name of all priors or some with --prior")
        return str(options.priors)
    texts: Sequence[str] = options.prior
    given = [_assigned("--prior", text, "tau=HalfNormal(5)") for text in texts]
    return {name: parse_prior(prior) for name, prior in given}


def _assigned(option: str, text: str, example: str) -> tuple[str, str]:
    """Split ``name=value``; a name may have an equals sign in brackets."""
    match = _ASSIGNED.fullmatch(text)
    if not match:
        raise SpecError(f"{option}: expected NAME=…, such as {example}; found {text!r}")
    return match["name"].strip(), match["value"].strip()
