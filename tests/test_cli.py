"""The command line."""

from __future__ import annotations

import re

import pytest

import hiermodels as hm
from hiermodels.cli import main


def test_demo_baseball(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    rows = dict(re.findall(r"^(Clemente|Alvis) +(.*)$", out, re.MULTILINE))
    numbers = [float(x) for x in rows["Clemente"].split()]
    assert numbers[:2] == [0.400, 0.346]
    assert numbers[2:5] == [0.240, 0.314, 0.419]  # exact
    assert numbers[5:8] == pytest.approx(numbers[2:5], abs=0.01)  # NUTS
    assert numbers[8:] == [0.240, 0.308, 0.417]  # the lecture's recipe
    assert re.search(r"raw averages +0\.0754", out)
    assert re.search(r"empirical Bayes +0\.0217  16 of 18", out)
    assert re.search(r"posterior means +0\.0247  16 of 18", out)
    assert "that is\nnot cut off at σ²" in out
    assert re.search(r"NUTS against the exact posterior\. The draws agree", out)
    assert (tmp_path / "baseball_shrinkage.png").stat().st_size > 10_000
    assert len(list(tmp_path.iterdir())) == 1  # nothing temporary is left


def test_demo_schools(tmp_path, capsys):
    assert main(["demo", "schools", "--out", str(tmp_path)]) == 0
    assert re.search(r"theta\[A\] +11\.40 +14\.64 +9\.33", capsys.readouterr().out)


def test_demo_classrooms(tmp_path, capsys):
    assert main(["demo", "classrooms", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "56 rows in 11 district, 56 school" in out
    assert re.search(r"kappa +0\.323 0\.109", out)
    assert (tmp_path / "classrooms_shrinkage.png").exists()


def test_errors_are_told_without_a_traceback(monkeypatch, capsys, tmp_path):
    from hiermodels import demo

    def refuse(folder):
        raise hm.DataError("something is missing")

    monkeypatch.setattr(demo, "schools", refuse)
    assert main(["demo", "schools", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "hiermodels: something is missing\n"


def test_an_unknown_example():
    with pytest.raises(SystemExit):
        main(["demo", "penguins"])


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"hiermodels {hm.__version__}\n"
