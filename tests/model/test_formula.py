"""Formulas: what is read, and every refusal."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hiermodels as hm
from hiermodels.data.design import build
from hiermodels.model.formula.parse import Formula, parse
from hiermodels.model.formula.terms import Factor, factors, quote
from hiermodels.model.level import Varying


def refuse(formula, *messages):
    with pytest.raises(hm.SpecError) as caught:
        parse(formula)
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("formula", "terms"),
    [
        ("y ~ 1", ()),
        ("y ~ 1 + ses", ("ses",)),
        ("y ~ ses + 1 + ses", ("ses",)),
        ("y~ses+C(sex)", ("ses", "C(sex)")),
        ("y ~ C ( sex )", ("C(sex)",)),
        ("y ~ a:b + b:a + a:b:a", ("a:b",)),
        ("y ~ a*b", ("a", "b", "a:b")),
        ("y ~ a:b + a", ("a", "a:b")),
        ("y ~ a + b*c:d", ("a", "b", "c:d", "b:c:d")),
        ("y ~ a*b*c", ("a", "b", "c", "a:b", "a:c", "b:c", "a:b:c")),
        ("y ~ (a + b):C(c)", ("a:C(c)", "b:C(c)")),
        ("y ~ (((a)) + b)*c", ("a", "b", "c", "a:c", "b:c")),
        ("y ~ `a`", ("a",)),
        ("y ~ `a b`:C(`c (%)`) + `1`", ("`1`", "`a b`:C(`c (%)`)")),
        ("y ~ C + C(C)", ("C", "C(C)")),
        ("y ~ class + été + _x1", ("class", "été", "_x1")),
        ("y ~ a\n  + b\t* c", ("a", "b", "c", "b:c")),
    ],
)
def test_covariates(formula, terms):
    assert parse(formula) == Formula("y", terms, ())


@pytest.mark.parametrize(
    ("groups", "columns"),
    [
        ("(1 | g)", ("g",)),
        ("(1|school/classroom)", ("school", "classroom")),
        ("(1 | school) + (1 | school:classroom)", ("school", "classroom")),
        ("(1 | classroom:school) + (1 | school)", ("school", "classroom")),
        ("(1 | `the school` / `a b`)", ("the school", "a b")),
    ],
)
def test_groups(groups, columns):
    assert parse(f"y ~ {groups}") == Formula("y", (), columns)
    assert parse(f"y ~ x + {groups} + z") == Formula("y", ("x", "z"), columns)


def test_columns_of_the_covariates():
    formula = parse("`my y` ~ ses*C(sex) + `a b`:ses + (1 | school)")
    assert formula.outcome == "my y"
    assert formula.columns == ("ses", "sex", "a b")
    assert str(formula) == "`my y` ~ ses + C(sex) + ses:C(sex) + `a b`:ses + (1 | school)"


names = st.text(min_size=1).filter(lambda text: "`" not in text) | st.sampled_from("abcC")
written = names.map(quote) | names.map(lambda name: f"C({quote(name)})")
terms = st.lists(written, min_size=1, max_size=3).map(":".join)


@given(
    outcome=names.map("y_{}".format),
    terms=st.lists(terms, max_size=4),
    groups=st.lists(names, max_size=2, unique=True),
)
def test_a_formula_reads_itself_back(outcome, terms, groups):
    nest = [f"(1 | {'/'.join(map(quote, groups))})"] if groups else []
    formula = parse(f"{quote(outcome)} ~ {' + '.join([*terms, *nest]) or '1'}")
    assert (formula.outcome, formula.groups) == (outcome, tuple(groups))
    assert parse(str(formula)) == formula


@given(st.text() | st.text("y~x+:*|/()1C` .-", max_size=30).map(lambda text: f"y ~ {text}"))
def test_any_text_is_read_or_refused(text):
    try:
        formula = parse(text)
    except hm.SpecError:
        return
    assert parse(str(formula)) == formula


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        ("log(y) ~ x", "'log(' at character 1"),
        ("y ~ log(x)", "'log(' at character 5"),
        ("y ~ np.exp(x)", "'np.exp(' at character 5"),
        ("y ~ I(x**2)", "'I('"),
        ("y ~ Q('x')", "'Q('"),
        ("y ~ bs(x, df=4)", "'bs('"),
        ("y ~ __import__('os').system('true')", "'__import__('"),
        ("y ~ (lambda: x)()", "expected a column name"),
        ("y ~ `log`(x)", "'`log`('"),
        ("y ~ C(log(x))", "'log('"),
        ("y ~ (1 | log(g))", "'log('"),
        ("y ~ df.x", "'df.x'"),
        ("y ~ {x + 1}", "'{'"),
        ("y ~ x[0]", "'['"),
        ("y ~ 'x'", '"\'"'),
        ('y ~ "x"', "'\"'"),
        ("y ~ x; import os", "';'"),
        ("y ~ @x", "'@'"),
        ("y ~ x**2", "'**'"),
        ("y ~ x^2", "'^'"),
        ("y ~ x % z", "'%'"),
        ("y ~ x == z", "'='"),
        ("y ~ x < z", "'<'"),
        ("y ~ C(a, b)", "','"),
        ("y ~ .", "'.'"),
        ("y ~ x\0", r"'\x00'"),
        ("y ~ 2*x", "'2'"),
        ("y ~ 0.5", "'0.5'"),
        ("y ~ 1e5", "'1e5'"),
        ("y ~ x - z", "'-' at character 7"),
        ("y ~ x - 2", "'2'"),
        ("y ~ `x", "'`'"),
        ("y ~ ``", "'`'"),
    ],
)
def test_nothing_is_evaluated(formula, found):
    refuse(formula, found, "formula: found")


def test_a_formula_library_never_sees_what_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic", None)
    refuse("y ~ x + log(x)", "'log('")
    with pytest.raises(hm.SpecError, match="'log\\('"):
        build(pd.DataFrame({"x": [1.0, 2.0]}), ["x", "log(x)"])
    with pytest.raises(ImportError):
        build(pd.DataFrame({"x": [1.0, 2.0]}), ["x"])


def test_calls_say_what_to_do():
    refuse("y ~ log(x)", "Make any other column in the data frame first, and use its name")
    refuse("y ~ x ** 2", "Make the column in the data frame first, and use its name")
    for formula in ("y ~ log(x)", "y ~ x[0]", "y ~ a(b)"):
        refuse(formula, "C(column), center(column) or scale(column)")


@pytest.mark.parametrize("term", ["center()", "scale(x + z)", "center(C(x))", "scale(x:z)"])
def test_center_and_scale_take_one_column(term):
    refuse(f"y ~ {term}", f"{term.split('(')[0]}(…) takes one column")


def test_center_and_scale_are_written_as_they_are_read():
    parsed = parse("y ~ center(year)*sex + scale(`class size`) + center + (1 | g)")
    terms = ("center(year)", "sex", "scale(`class size`)", "center", "center(year):sex")
    assert parsed.terms == terms
    assert parsed.columns == ("year", "sex", "class size", "center")
    assert parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "formula",
    ["y ~ 0 + x + (1 | g)", "y ~ -1 + x + (1|g)", "y ~ x - 1 + (1 | g)", "y ~ x + -1 + (1 | g)"],
)
def test_the_intercept_is_taken_out(formula):
    parsed = parse(formula)
    assert parsed == Formula("y", ("x",), ("g",), intercept=False)
    assert str(parsed) == "y ~ 0 + x + (1 | g)"
    assert parse(str(parsed)) == parsed
    assert parse("y ~ 1 + x").intercept
    assert not parse("y ~ 0 + (1 | g)").intercept


def test_nothing_else_is_taken_out():
    for formula in ("y ~ x - z", "y ~ x - 0", "y ~ x -", "y ~ (x - 1) + z", "y ~ x + (1 - x | g)"):
        refuse(formula, "found '-'", "only the intercept can be taken out")
    refuse("y ~ 0 + 1 + x", "both asked for and taken out")
    refuse("y ~ x - 1:z", "a number is no covariate")
    for formula in ("y ~ 0", "y ~ -1"):
        refuse(formula, "no intercept, covariates or groups", "Write 1 for the intercept")


@pytest.mark.parametrize(
    ("groups", "terms", "correlated"),
    [
        ("(x | g)", ("Intercept", "x"), True),
        ("(1 + x | g)", ("Intercept", "x"), True),
        ("(x + 1 | g)", ("Intercept", "x"), True),
        ("(0 + x | g)", ("x",), True),
        ("(x - 1 | g)", ("x",), True),
        ("(x || g)", ("Intercept", "x"), False),
        ("(1 | g) + (0 + x | g)", ("Intercept", "x"), False),
        ("(0 + x | g) + (1 | g)", ("Intercept", "x"), False),
        ("(x * z | g)", ("Intercept", "x", "z", "x:z"), True),
    ],
)
def test_slopes_that_vary(groups, terms, correlated):
    found = parse(f"y ~ x * z + {groups}")
    assert found.groups == ("g",)
    assert found.varying == (Varying(terms, correlated),)
    assert parse(str(found)) == found


def test_slopes_at_some_levels():
    found = parse("y ~ x + (1 + x | a) + (1 | a:b)")
    assert found.groups == ("a", "b")
    assert found.varying == (Varying(("Intercept", "x")), Varying())
    assert parse(str(found)) == found
    assert parse("y ~ x + (x | a/b)").varying == (Varying(("Intercept", "x")),) * 2
    assert parse("y ~ x + (1 || a/b)").varying == ()


def test_what_cannot_vary():
    refuse("y ~ x + (0 | g)", "'(0 | g)'", "nothing varies", "Write (1 | school)")
    refuse("y ~ x + ( | g)", "'( | g)'", "expected what varies")
    refuse("y ~ x + (x | g) + (0 + x | g)", "stand in the formula twice")
    refuse("y ~ x + z + (x | g) + (0 + z | g)", "some are correlated", "(1 + x || g)")


@pytest.mark.parametrize("groups", ["(1 | a/b/c)", "(1 | a) + (1 | a:b) + (1 | a:b:c)"])
def test_three_columns_of_groups(groups):
    assert parse(f"y ~ {groups}").groups == ("a", "b", "c")


def test_more_than_three_columns_of_groups():
    refuse("y ~ (1 | a/b/c/d)", "more than 3 columns of groups")


def test_the_inner_level_alone():
    refuse("y ~ (1 | a:b)", "'(1 | a:b)' at character 5", "leaves out the outer level")


def test_a_column_nested_in_itself():
    refuse("y ~ (1 | a/a)", "a column stands in it twice")


@pytest.mark.parametrize("term", ["(1 | )", "(1 | a/)", "(1 | a b)", "(1 | C(a))", "(1 | a*b)"])
def test_groups_that_are_no_columns(term):
    refuse(f"y ~ {term}", f"'{term}'", "expected a column of group labels")


@pytest.mark.parametrize("formula", ["y ~ 1 | g", "y ~ x + 1 | g", "y ~ x:(1 | g)", "y ~ g |"])
def test_groups_outside_of_parentheses(formula):
    refuse(formula, "groups stand in parentheses of their own")


@pytest.mark.parametrize("formula", ["y + z ~ x", "C(y) ~ x", "1 ~ x", "(y) ~ x", "y z ~ x"])
def test_an_outcome_that_is_no_column(formula):
    refuse(formula, "at character 1 of", "expected the outcome, a single column")


def test_an_outcome_on_the_right():
    refuse("y ~ x + y", "column 'y' is the outcome")
    refuse("y ~ x + (1 | y)", "column 'y' is the outcome")


@pytest.mark.parametrize(("formula", "count"), [("y", 0), ("", 0), ("y ~ x ~ z", 2), ("`~`", 0)])
def test_one_tilde(formula, count):
    refuse(formula, "expected one ~", f"found {count} in")


def test_empty_sides():
    refuse("~ x", "there is no outcome")
    refuse("y ~ ", "found '~' at character 3", "expected a term after it")


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ x +", "'+' at character 7 of 'y ~ x +': expected a term after it"),
        ("y ~ + x", "'+' at character 5 of 'y ~ + x': expected a term before it"),
        ("y ~ a::b", "':' at character 7 of 'y ~ a::b': expected a term before it"),
        ("y ~ a*", "'*' at character 6 of 'y ~ a*': expected a term after it"),
        ("y ~ ()", "expected a term after it"),
        ("y ~ (a", "'(' at character 5 of 'y ~ (a': this parenthesis is never closed"),
        ("y ~ a)", "')' at character 6 of 'y ~ a)': this parenthesis was never opened"),
        ("y ~ a b", "'a b' at character 5 of 'y ~ a b': expected a column name"),
        ("y ~ (a)(b)", "expected a column name"),
        ("y ~ a/b", "this nests groups"),
        ("y ~ 1:a", "a number is no covariate"),
        ("y ~ (1 + a)*b", "a number is no covariate"),
        ("y ~ C()", "C(…) takes one column"),
        ("y ~ C(a:b)", "C(…) takes one column"),
        ("y ~ C(a)b", "C(…) takes one column"),
    ],
)
def test_mistakes(formula, message):
    refuse(formula, message)


@pytest.mark.parametrize("formula", [None, 3, b"y ~ x", ["y ~ x"]])
def test_what_is_no_text(formula):
    refuse(formula, "expected text such as 'score ~ ses + (1 | school)'; found")


def test_enormous_formulas_are_refused_quickly():
    refuse("y ~ " + "*".join(f"x{i}" for i in range(100)), "more than 1000 terms")
    refuse("y ~ " + "(" * 5000 + "x" + ")" * 5000, "more than 20 parentheses", "…")


def test_a_term_taken_apart():
    assert factors("ses:C(`a b`)") == (Factor("ses"), Factor("a b", "C"))
    assert list(map(str, factors("`a b`"))) == ["`a b`"]


@pytest.mark.parametrize("term", ["", "a + b", "a*b"])
def test_several_terms_are_not_one(term):
    with pytest.raises(hm.SpecError, match="Give each term by itself"):
        factors(term)


@pytest.mark.parametrize("name", ["", "a`b"])
def test_names_that_no_formula_can_hold(name):
    with pytest.raises(hm.SpecError, match="cannot be named in a formula"):
        quote(name)
