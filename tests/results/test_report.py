"""The page of a fit: whole, safe, and enough to make the fit again."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hiermodels as hm
from hiermodels.cli import main
from hiermodels.exact import quadrature as integrated
from hiermodels.results.report import html as page
from hiermodels.results.report import parts
from hiermodels.results.report import sections as report
from hiermodels.results.report.html import element, table
from hiermodels.results.report.recipe import command, snippet

VOID = {"meta", "img"}
COMMON = ["model", "data", "draws", "hyperparameters"]
OF_GROUPS = ["variance", "units", "shrinkage", "league", "trace", "predictions", "checks"]
OF_GROUPS += ["sensitivity"]
EVIL = (
    "<script>alert(1)</script>",
    "\"&'><img src=x onerror=alert(2)>",
    "</style></title><script>alert(3)</script>",
    "$\\bad{$ 100%",
    "x" * 400,
    "x" * 400 + "y",
    "two\nlines",
    "javascript:alert(4)",
)


class Parsed(HTMLParser):
    """What stands on a page; fails where tags are not balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.blocks: dict[str, list[str]] = {"pre": [], "h1": [], "th": [], "td": []}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in self.blocks:
            self.blocks[tag].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in self.blocks:
            self.blocks[self.open[-1]][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def sections(self) -> list[str]:
        return [section["id"] for section in self.all("section")]


def write(fit: hm.Fit, folder: Path, **options) -> Parsed:
    path = fit.report(folder / "report.html", **options)
    assert [each.name for each in folder.iterdir()] == ["report.html"]
    return Parsed(path.read_text(encoding="utf-8"))


def check_structure(parsed: Parsed) -> None:
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [link["href"] for link in parsed.all("a")]
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert [link[1:] for link in links[1:]] == parsed.sections
    assert all(image["src"].startswith("data:image/png;base64,") for image in parsed.all("img"))
    assert all(len(image["alt"]) > 20 for image in parsed.all("img"))
    allowed = {"id", "class", "scope", "role", "aria-label", "aria-labelledby", "tabindex"}
    allowed |= {"href", "src", "alt", "width", "height", "style", "colspan", "lang", "charset"}
    allowed |= {"name", "content", "http-equiv"}
    used = {name for _, attributes in parsed.tags for name in attributes}
    assert used <= allowed
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "base"}
    assert all(style["style"].startswith("--width: ") for style in parsed.all("img"))
    assert len(parsed.all("h1")) == len(parsed.all("title")) == len(parsed.all("main")) == 1


@pytest.fixture(scope="module")
def eight(schools):
    return hm.fit(schools, random_seed=3, draws=300)


@pytest.fixture(scope="module")
def page_of_eight(eight, tmp_path_factory):
    """The page of eight schools, from a.csv."""
    return eight.report(tmp_path_factory.mktemp("eight") / "page.html", source="a.csv").read_bytes()


@pytest.fixture
def text_alone(monkeypatch):
    """Pages without pictures, which take most of the time, where a test reads what is written."""
    monkeypatch.setattr(parts, "_drawn", lambda *_: element("figure"))


@pytest.fixture(scope="module")
def models(schools):
    """A fit of each kind of model, its data, and the number of its pictures."""
    pastes, dyestuff = hm.datasets.load_pastes(), hm.datasets.load_dyestuff()
    pupils = hm.datasets.simulate_classrooms(
        6, classrooms=(2, 3), pupils=(5, 9), beta=0.4, random_seed=1
    )
    pupils["sex"] = np.where(np.arange(len(pupils)) % 3, "F", "M")
    pupils["my score"] = pupils["score"] * np.pi
    pupils.loc[3, "ses"] = np.nan
    formula = "`my score` ~ ses*C(sex) + (1 | school/classroom)"
    small = {"draws": 100, "random_seed": 2}
    cauchy = {"tau": hm.HalfCauchy(np.float64(1 / 3)), "mu": hm.Normal(1, 20)}
    conjugate = {"theta": hm.NormalInverseGamma(1500, 1, 2, 300)}
    odd = schools.rename(columns={"school": "a`b", "y": "a, b"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "known se": (hm.fit(schools, priors=cauchy, **small), schools, 5),
            "unknown sigma": (hm.fit(dyestuff, "yield_ ~ (1 | batch)", **small), dyestuff, 5),
            "three levels": (
                hm.fit(pastes, "strength ~ (1 | batch/cask)", chains=2, **small),
                pastes,
                9,
            ),
            "covariates": (
                hm.fit(pupils, formula, missing="drop", priors={"sigma": hm.Fixed(4.3)}, **small),
                pupils,
                8,
            ),
            "one population": (hm.fit(dyestuff, groups=[], **small), dyestuff, 0),
            "conjugate": (hm.fit(dyestuff, groups=[], priors=conjugate, **small), dyestuff, 0),
            "odd names": (
                hm.fit(odd, outcome="a, b", groups="a`b", se="sigma", **small),
                odd,
                5,
            ),
            "nuts": (
                hm.fit(schools, engine="nuts", tune=300, parameterization="marginal", **small),
                schools,
                5,
            ),
        }


KINDS = (
    *("known se", "unknown sigma", "three levels", "covariates", "one population", "conjugate"),
    *("odd names", "nuts"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_has_its_page_and_the_page_makes_the_same_fit(
    kind, models, tmp_path, monkeypatch, capsys
):
    fit, frame, pictures = models[kind]
    parsed = write(fit, tmp_path, source="it's data.csv", sensitivity=kind == "three levels")
    check_structure(parsed)
    assert parsed.sections == [*COMMON, *(OF_GROUPS if fit.spec.groups else []), "code"]
    assert len(parsed.all("img")) == pictures
    model, code, *lines = parsed.blocks["pre"]
    assert model == "\n".join(fit.spec.describe())
    for name, text in fit.spec.describe_priors().items():
        assert name in parsed.blocks["th"]
        assert text in parsed.blocks["td"]
    monkeypatch.chdir(tmp_path)
    frame.to_csv("it's data.csv", index=False)
    names: dict[str, hm.Fit] = {}
    exec(code, names)
    again = names["fit"]
    assert again.spec == fit.spec
    xr.testing.assert_allclose(again.reference().mean, fit.reference().mean, rtol=1e-12)
    for name, draws in fit.datatree["posterior"].data_vars.items():
        np.testing.assert_array_equal(again.datatree["posterior"][name], draws)
    assert bool(lines) == (kind != "odd names")
    if kind in ("known se", "three levels", "covariates", "conjugate"):
        assert main([*shlex.split(lines[0])[1:], "--out", "again.nc"]) == 0
        other = hm.load("again.nc")
        assert other.spec == fit.spec
        for name, draws in fit.datatree["posterior"].data_vars.items():
            np.testing.assert_array_equal(other.datatree["posterior"][name], draws)


def test_the_numbers_are_those_of_the_fit(eight, page_of_eight):
    parsed = Parsed(page_of_eight.decode())
    mean = eight.reference().mean
    for value in (mean["mu"], mean["tau"], *mean["theta"]):
        assert f"{float(value):.4g}" in parsed.blocks["td"]
    text = "".join(parsed.text)
    assert "89 % equal-tailed" in text
    assert "FlatVariance(), on the variance tau²" in text
    assert "its default prior matters. Under FlatSD()" in text
    assert "mean of theta[A] is 11.4 in place of 14.6" in text
    assert eight.posterior.certificate["draws"] in text
    assert dict(line.split(": ") for line in eight.reference().how())["precision"] in text
    p = eight.check(random_seed=report.CHECK_SEED)["p"]
    assert all(f"{value:.4g}" in parsed.blocks["td"] for value in p)
    for line in eight.sensitivity().verdict.splitlines():
        assert line in text


def test_the_same_fit_gives_the_same_page(page_of_eight, schools, tmp_path):
    again = hm.fit(schools, random_seed=3, draws=300)
    assert again.report(tmp_path / "b.html", source="a.csv").read_bytes() == page_of_eight


@pytest.mark.usefixtures("text_alone")
def test_no_warning_where_the_prior_was_chosen(schools, tmp_path):
    fit = hm.fit(schools, priors={"tau": hm.FlatSD()}, random_seed=1, draws=100)
    assert "its default prior matters" not in "".join(write(fit, tmp_path).text)


@pytest.mark.usefixtures("text_alone")
def test_chains_that_did_not_mix_are_told(schools, tmp_path):
    with pytest.warns(hm.ConvergenceWarning) as caught:
        fit = hm.fit(schools, engine="nuts", draws=20, tune=20, random_seed=1)
    told = [str(w.message) for w in caught if w.category is hm.ConvergenceWarning]
    fit.to_netcdf(tmp_path / "fit.nc")
    (tmp_path / "page").mkdir()
    text = "".join(write(hm.load(tmp_path / "fit.nc"), tmp_path / "page").text)
    assert f"Note. {told[0]}" in text


@pytest.mark.usefixtures("text_alone")
def test_a_seed_that_is_not_known_is_not_made_up(schools, tmp_path):
    fit = hm.fit(schools, random_seed=np.random.default_rng(1), draws=50)
    parsed = write(fit, tmp_path)
    assert "No seed is known" in "".join(parsed.text)
    assert "random_seed" not in parsed.blocks["pre"][1]
    assert (
        "df = ...  # the data frame that was fitted, with the columns 'y', 'school', 'sigma'"
        in (parsed.blocks["pre"][1])
    )


def test_the_seed_is_kept_in_a_file(eight, tmp_path):
    eight.to_netcdf(tmp_path / "fit.nc")
    assert "random_seed=3" in snippet(hm.load(tmp_path / "fit.nc").posterior)


class Mine(hm.HalfNormal):
    """A prior of the user's own."""


def test_a_prior_of_ones_own_needs_python(schools):
    fit = hm.fit(schools, priors={"tau": Mine(3)}, random_seed=1, draws=50)
    assert command(fit.posterior) is None
    assert "'tau': Mine(sd=3)," in snippet(fit.posterior)


@pytest.fixture(scope="module")
def evil():
    """A fit whose every name and label would break a page that does not escape them."""
    outcome, column, se = "<img src=x onerror=alert(5)>", EVIL[1], "<td><script>"
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({column: EVIL, outcome: rng.normal(size=len(EVIL)), se: 1.0})
    frame["covariate " + EVIL[1]] = rng.normal(size=len(EVIL))
    roles = {"outcome": outcome, "groups": column, "se": se}
    return hm.fit(frame, **roles, covariates=["covariate " + EVIL[1]], draws=100, random_seed=1)


def test_text_from_outside_stays_text(evil, tmp_path):
    parsed = write(evil, tmp_path, source=f"{EVIL[0]}.csv", title=EVIL[2])
    check_structure(parsed)
    assert parsed.blocks["h1"] == [EVIL[2]]
    labels = [text for text in parsed.blocks["th"] if text in EVIL]
    assert set(labels) == set(EVIL)
    assert f"{evil.spec.outcome}: " in "".join(parsed.blocks["td"])
    compile(parsed.blocks["pre"][1], "snippet", "exec")


def test_many_groups_are_cut_to_both_ends(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": [f"g{i}" for i in range(300)], "y": rng.normal(size=300)})
    frame["se"] = rng.uniform(0.3, 2, 300)
    fit = hm.fit(frame, random_seed=1, draws=100)
    monkeypatch.setattr(parts, "MAX_PICTURED", 200)
    monkeypatch.setattr(report, "MAX_WORK", 100)
    parsed = write(fit, tmp_path)
    check_structure(parsed)
    text = "".join(parsed.text)
    assert text.count("260 rows between are not shown") == 3
    assert text.count("Left out: a picture of 300 groups would tell nothing.") == 3
    assert text.count("Left out: it would take more than a few seconds here") == 1
    assert len(parsed.all("img")) == 2
    order = fit.reference().quantile(0.5)["theta"].isel(quantile=0).to_series().sort_values()
    heads = parsed.blocks["th"]
    start = heads.index("g") + 6
    assert heads[start : start + 40] == [*order.index[:-21:-1], *order.index[19::-1]]
    monkeypatch.setattr(report, "MEMORY_BUDGET", 1e5)
    (tmp_path / "page").mkdir()
    assert "replicates of 300 groups do not fit in memory" in "".join(
        write(fit, tmp_path / "page").text
    )


def test_moments_that_do_not_exist_are_no_numbers():
    frame = pd.DataFrame({"mean": [np.nan, 0.0123456], "rank": [1, 20000]}, ["a", "b"])
    cells = Parsed(table(frame, "a table")).blocks["td"]
    assert cells == ["–", "1", "0.01235", "20,000"]


def test_elements_escape_what_is_text():
    assert element("p", "<b>", element("b", "&"), title="\"'") == (
        '<p title="&quot;&#x27;">&lt;b&gt;<b>&amp;</b></p>'
    )


@pytest.mark.usefixtures("text_alone")
def test_the_page_is_whole_or_is_not_there(eight, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")

    def break_down(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", break_down)
        with pytest.raises(hm.DataError, match=r"No space left on device\. What was there before"):
            eight.report(path)
    with monkeypatch.context() as patched:
        patched.setattr(page, "_section", break_down)
        with pytest.raises(OSError, match="No space"):
            eight.report(path)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_part_that_fails_is_replaced_by_its_reason(eight, tmp_path, monkeypatch):
    """One table or picture that could not be made took the whole page down."""

    def fails(*_, **__):
        raise ZeroDivisionError("nothing to <divide>")

    def no_precision(*_, **__):
        raise hm.PrecisionError("two spacings differ.")

    monkeypatch.setattr(report, "variance_components", fails)
    monkeypatch.setattr(report, "rank_members", no_precision)
    monkeypatch.setattr(report, "compare_priors", fails)
    monkeypatch.setattr("hiermodels.plots.shrinkage.plot_shrinkage", fails)
    parsed = write(eight, tmp_path)
    check_structure(parsed)
    assert parsed.sections == [*COMMON, *OF_GROUPS, "code"]
    text = "".join(parsed.text)
    assert text.count("Left out: ZeroDivisionError: nothing to <divide>.") == 3
    assert text.count("Left out: two spacings differ.") == 1
    assert len(parsed.all("img")) == 4  # variance, league, trace, checks


@pytest.mark.usefixtures("text_alone")
def test_a_page_without_a_reference_has_what_the_draws_say(eight, tmp_path, monkeypatch):
    monkeypatch.setattr(integrated, "SPACING", {1: 4.0})
    monkeypatch.setattr(integrated, "MAX_LATTICES", 1)
    parsed = write(hm.Fit(replace(eight.posterior, data=replace(eight.data))), tmp_path)
    check_structure(parsed)
    text = "".join(parsed.text)
    assert "Left out: the posterior cannot be integrated: the finest two spacings" in text
    assert "ArviZ's summary of the draws" in text
    assert "Statistics of the data, and of data replicated from the posterior" in text
    assert "hiermodels fit" in text


@pytest.mark.usefixtures("text_alone")
def test_the_command_line(schools, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schools.to_csv("schools.csv", index=False)
    arguments = ["fit", "schools.csv", "--seed", "1", "--draws", "100", "--report", "page.html"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert shown.out.endswith("report in page.html\n")
    assert "hiermodels: report: Shrinkage …\n" in shown.err
    code = Parsed(Path("page.html").read_text(encoding="utf-8")).blocks["pre"]
    assert "df = pd.read_csv('schools.csv')" in code[1]
    assert code[2].startswith("hiermodels fit schools.csv --formula 'y ~ (1 | school)' --se sigma")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere/page.html", "there is no folder 'nowhere'|there is no folder '/"),
        (".", "it is a folder"),
        ("fit.nc", "--report: expected another file than --out; both are 'fit.nc'"),
        ("locked/page.html", "no permission to write in '.*locked'"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_fit(
    path, message, schools, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    schools.to_csv("schools.csv", index=False)
    Path("locked").mkdir()
    monkeypatch.setattr("os.access", lambda folder, mode: "locked" not in str(folder))
    monkeypatch.setattr("hiermodels.posterior.engine.get_engine", pytest.fail)
    assert main(["fit", "schools.csv", "--out", "fit.nc", "--report", path]) == 2
    shown = capsys.readouterr()
    assert re.search(message, shown.err)
    assert not shown.out


def find_browser() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


PROBE = """<script>
window.problems = [];
for (const name of ["alert", "confirm", "prompt"]) window[name] = (x) => problems.push(name + x);
window.onerror = (message) => { problems.push(message); };
window.onload = () => {
  const images = [...document.images].map((image) => image.naturalWidth);
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const found = document.createElement("pre");
  found.id = "found";
  found.textContent = JSON.stringify({ problems, images, wide });
  document.body.append(found);
};
</script>"""


@pytest.mark.skipif(find_browser() is None, reason="no chromium or chrome on PATH")
@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("name", ["eight", "evil"])
def test_a_browser_shows_the_page(name, width, request, tmp_path):
    """The page as it is, and a copy without its policy, in which a script looks around."""
    path = request.getfixturevalue(name).report(tmp_path / "page.html", title="A <title>")
    text = path.read_text(encoding="utf-8")
    policy = re.search(r"<meta http-equiv[^>]*>", text)
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace(policy[0], PROBE), encoding="utf-8")
    dom = Parsed(show(path, width, tmp_path))
    assert dom.blocks["h1"] == ["A <title>"]
    assert dom.sections == [*COMMON, *OF_GROUPS, "code"]
    found = Parsed(show(copy, width, tmp_path)).blocks["pre"][-1]
    seen = pd.io.json.ujson_loads(found)
    assert seen["problems"] == []
    assert len(seen["images"]) == 6
    assert min(seen["images"]) > 300
    assert seen["wide"] <= 0


def show(path: Path, width: int, folder: Path) -> str:
    """The document as a browser holds it after it was loaded."""
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--dump-dom"),
    ]
    done = subprocess.run(
        [find_browser(), *options, path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        encoding="utf-8",
    )
    return done.stdout
