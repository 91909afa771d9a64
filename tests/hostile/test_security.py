"""Names, labels and files from elsewhere are text: shown as they are, never carried out."""

from __future__ import annotations

import ast
import io
import json
import socket
import sys
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.cli import main
from hiermodels.core.messages import printable
from hiermodels.model.formula.parse import parse
from hiermodels.model.priors.registry import PRIORS, parse_prior
from hiermodels.results.report.recipe import snippet

mpl.use("Agg")

EVIL = (
    "<script>document.title = 'taken'</script>",
    "<a href='javascript:alert(1)'>x</a>",
    "<b onclick=alert(2)>bold</b>",
    "</td></table>]]></style>&amp;",
    "$\\frac$ costs $5",
    "$$\\alpha$$ {{7*7}} ${x}",
    "\x1b[2J\x07\x9b2J",
    "\u202egnp\u202c\u2028line",
    "'; drop table x; --",
    '"""\nimport os\n"""',
    "=cmd|' /C calc'!A0",
    "x" * 5000,
)
GROUP = "<script onload=alert(3)>\"'); drop table x; -- $\\frac$"  # no dimension has a slash
OUTCOME = '<img src=x onerror=alert(4)>]]>&amp;"""\n'


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two rows in each of groups with names that would do harm, in columns of such names."""
    rng = np.random.default_rng(1)
    n = 2 * len(EVIL)
    return pd.DataFrame(
        {
            GROUP: np.repeat(EVIL, 2),
            OUTCOME: rng.normal(size=n),
            EVIL[9]: rng.normal(size=n),
            EVIL[8]: np.tile(["a'); drop table x; --", 'b" or 1=1'], len(EVIL)),
        }
    )


ROLES = {"outcome": OUTCOME, "groups": [GROUP], "covariates": [EVIL[9], EVIL[8]]}
PROPER = {"mu": hm.Normal(0.0, 1.0), "beta": hm.Normal(0.0, 1.0)} | dict.fromkeys(
    ["tau", "sigma"], hm.HalfNormal(1.0)
)


@pytest.fixture(scope="module")
def fit(rows):
    return hm.fit(rows, **ROLES, priors=PROPER, draws=100, random_seed=1)


# HTML.


class Parsed(HTMLParser):
    """Elements, their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


SHOWN = {
    "fit": lambda fit: fit,
    "summary": lambda fit: fit.summary(),
    "reference": lambda fit: fit.reference().summary(),
    "estimates": lambda fit: fit.estimates(),
    "rank": lambda fit: fit.rank(),
    "compare": lambda fit: hm.compare(fit, fit),
    "predict": lambda fit: fit.predict(random_seed=1),
    "components": lambda fit: fit.variance_components(),
    "sensitivity": lambda fit: fit.sensitivity(),
    "calibrate": lambda fit: hm.calibrate(fit, simulations=10, draws=20, random_seed=1),
    "check": lambda fit: fit.check(random_seed=1),
}
TABLES = {
    "b",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "p",
    "pre",
    "div",
    "style",
    "br",
    "ul",
    "li",
}
LOOKS = {"class", "border", "valign", "style", "scope", "rowspan", "colspan"}


@pytest.mark.parametrize("what", SHOWN)
def test_what_notebooks_show_is_text(what, fit):
    shown = SHOWN[what](fit)
    parsed = Parsed(shown._repr_html_())
    assert parsed.tags <= TABLES
    assert parsed.attributes <= LOOKS
    assert parsed.text


@pytest.mark.parametrize("name", ["shrinkage", "caterpillar", "trace_tau", "ppc"])
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_pictures_show_labels_as_they_are(name, rows):
    """Plotly once took them for HTML, with links; matplotlib failed at two dollars."""
    few = rows.iloc[:12]
    roles = {"outcome": OUTCOME, "groups": [GROUP]}
    plot = getattr(hm.fit(few, **roles, draws=50), f"plot_{name}")
    plot(backend="matplotlib").get_viz("figure").savefig(io.BytesIO())
    figure = plot(backend="plotly").get_viz("figure")
    drawn = json.loads(getattr(figure, "figure", figure).to_json())
    texts = list(strings({key: drawn[key] for key in ("data", "layout")}))
    assert any("&lt;" in text for text in texts)
    assert not [text for text in texts if "<" in text.replace("<br>", "")]


def strings(value):
    """All texts of a figure but those of its template."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item) if key != "template" else ()
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


# Code.


def test_the_recipe_has_names_as_texts_only(fit):
    """Whatever stands in names, the code imports, makes priors and fits."""
    tree = ast.parse(snippet(fit.posterior, "x'); import os; ('.csv"))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert calls == {"pd.read_csv", "hm.fit", "hm.Normal", "hm.HalfNormal"}
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import)]
    assert imports == ["import hiermodels as hm", "import pandas as pd"]
    assert len(tree.body) == 4
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    (formula,) = [text for text in texts if "~" in str(text)]
    assert parse(formula).outcome == OUTCOME
    assert parse(formula).groups == (GROUP,)
    assert parse(formula).columns == (EVIL[9], EVIL[8])


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ __import__('os').system('touch broken') + (1 | g)",
        "y ~ I(x) + (1 | g)",
        "y ~ x.__class__ + (1 | g)",
        "y ~ {x + 1} + (1 | g)",
        "y ~ x[0] + (1 | g)",
        "y ~ C(__import__('os')) + (1 | g)",
        "y ~ C(x, levels=y) + (1 | g)",
        "lambda: 0 ~ x",
    ],
)
def test_formulas_that_would_compute_are_refused(formula):
    with pytest.raises(hm.SpecError):
        parse(formula)


def test_a_backticked_name_is_a_name_and_no_code(tmp_path, monkeypatch):
    """What no parser refuses is looked up as a column, whatever it says."""
    monkeypatch.chdir(tmp_path)
    code = "__import__('os').system('touch broken')"
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"y": rng.normal(size=20), code: rng.normal(size=20)})
    frame["g"] = np.repeat(list("abcde"), 4)
    plain = hm.fit(frame.rename(columns={code: "x"}), "y ~ x + (1 | g)", random_seed=1)
    found = hm.fit(frame, f"y ~ `{code}` + (1 | g)", random_seed=1)
    beta = found.datatree["posterior"]["beta"].to_numpy()
    assert (beta == plain.datatree["posterior"]["beta"].to_numpy()).all()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch broken')",
        "HalfNormal(__import__('os').system('touch broken'))",
        "HalfNormal(*[5])",
        "HalfNormal(**{'sd': 5})",
        "HalfNormal(sd=exit())",
        "Spec('y', ())",
        "hm.HalfNormal(5)",
        "(lambda: 5)()",
        "HalfNormal(" + "(" * 5000 + "1" + ")" * 5000 + ")",
        "HalfNormal('5')",
        "HalfNormal(True)",
    ],
)
def test_priors_are_a_name_and_numbers(text):
    with pytest.raises(hm.SpecError):
        parse_prior(text)
    assert "Spec" not in PRIORS


# Terminals and files.


def test_printable_text_commands_no_terminal():
    assert printable("\x1b[2Ja\tb\n\x9b\u202e\u2028é\u200d") == (
        "\\x1b[2Ja\tb\n\\x9b\\u202e\\u2028é\u200d"
    )


def test_the_command_line_writes_out_control_characters(rows, tmp_path, capsys):
    """Labels from a file once cleared the screen, or wrote over what was said before."""
    path = tmp_path / "\x1b[31m.csv"
    frame = pd.DataFrame({"g\x1b]0;taken\x07": np.repeat(EVIL, 2), "y": rows[OUTCOME]})
    frame.to_csv(path, index=False)
    assert main(["fit", str(path), "--draws", "50", "--out", str(tmp_path / "fit.nc")]) == 0
    assert main(["fit", str(tmp_path / "\x1b.csv")]) == 2
    assert main(["compare", str(tmp_path / "fit.nc"), str(tmp_path / "fit.nc")]) == 0
    done = capsys.readouterr()
    assert "\\x1b" in done.out
    assert "\\x1b" in done.err
    assert not {c for c in done.out + done.err if not c.isprintable()} - set("\n\t")


def test_the_table_is_not_written_over(schools, tmp_path, capsys):
    path = tmp_path / "schools.csv"
    schools.to_csv(path, index=False)
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    for option in ("--out", "--report"):
        for name in ("schools.csv", "link"):
            assert main(["fit", str(path), option, str(tmp_path / name)]) == 2
            assert "is the table itself" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.csv", "https://x/a.parquet", "s3://b/a.csv"])
def test_nothing_is_fetched(url, monkeypatch, tmp_path, capsys):
    """A name is that of a file, as it stands; also where a folder is called ``http:``."""
    monkeypatch.setattr(socket.socket, "connect", pytest.fail)
    monkeypatch.chdir(tmp_path)
    for lazy in ([], ["--lazy"]):
        assert main(["fit", url, *lazy]) == 2
    assert main(["compare", url, url]) == 2
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        hm.load(url)


@pytest.mark.parametrize("name", ["*.parquet", "[ab].parquet", "{a,b}.parquet"])
def test_a_file_name_is_no_pattern(name, schools, tmp_path, capsys):
    """Polars once read all files that it fits, or none."""
    pytest.importorskip("polars")
    schools.to_parquet(tmp_path / name)
    pd.concat([schools, schools.assign(school=list("ijklmnop"))]).to_parquet(tmp_path / "a.parquet")
    assert main(["fit", str(tmp_path / name), "--lazy", "--draws", "20"]) == 0
    assert "8 rows in 8 school" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
def test_names_and_labels_are_no_queries(engine, rows, fit):
    """DuckDB is sent text; the numbers are those of the rows, and its tables are still there."""
    library = pytest.importorskip(engine)
    rows = rows[~rows[GROUP].str.contains("\0")]
    if engine == "polars":
        lazy = library.from_pandas(rows).lazy()
    else:
        connection = library.connect()
        connection.sql("create table x as select 1 as one")
        connection.register("rows", rows)
        lazy = connection.table("rows")
    found = hm.reference(lazy, **ROLES, priors=PROPER)
    expected = fit.reference()
    for name in ("mu", "beta", "tau", "sigma"):
        gap = np.abs(found.mean[name].to_numpy() - expected.mean[name].to_numpy())
        assert (gap <= 1e-9 * expected.sd[name].to_numpy()).all()
    theta = expected.mean["theta"].sel({GROUP: found.mean[GROUP].values}).to_numpy()
    assert np.abs(found.mean["theta"].to_numpy() - theta).max() < 1e-9
    if engine == "duckdb":
        assert connection.sql("select count(*) from x").fetchall() == [(1,)]


def test_nothing_that_unpickles_is_loaded(fit, tmp_path, monkeypatch):
    """Neither a saved fit nor a table needs pickle."""
    path = fit_without_nul(tmp_path)
    monkeypatch.setattr(sys.modules["pickle"], "loads", pytest.fail)
    monkeypatch.setattr(sys.modules["pickle"], "load", pytest.fail)
    hm.load(path)


def fit_without_nul(folder):
    return hm.fit(hm.datasets.load_eight_schools(), draws=5).to_netcdf(folder / "fit.nc")
