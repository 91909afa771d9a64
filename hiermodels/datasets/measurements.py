"""Measurements from the literature, typed from their publications."""

from __future__ import annotations

import numpy as np
import pandas as pd


def load_baseball() -> pd.DataFrame:
    """Batting averages of 18 players after 45 at-bats in 1970, and in the rest of the season.

    Returns
    -------
    DataFrame
        Columns ``player``; ``y``, the average after 45 at-bats; ``sigma``, its standard error,
        taken as 0.06 for all (the binomial √(p(1 − p)/45) at p ≈ 0.2); ``at_bats``, 45;
        ``ability``, the average over the remainder of the season: not an outcome, but the
        truth to compare estimates with.

    References
    ----------
    Efron & Morris (1975), Data analysis using Stein's estimator and its generalizations,
    Journal of the American Statistical Association 70:311-319, table 1.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_baseball().head(2)
            player      y  sigma  at_bats  ability
    0     Clemente  0.400   0.06       45    0.346
    1  F. Robinson  0.378   0.06       45    0.298
    """
    rows = [
        ("Clemente", 0.400, 0.346),
        ("F. Robinson", 0.378, 0.298),
        ("F. Howard", 0.356, 0.276),
        ("Johnstone", 0.333, 0.222),
        ("Berry", 0.311, 0.273),
        ("Spencer", 0.311, 0.270),
        ("Kessinger", 0.289, 0.263),
        ("L. Alvarado", 0.267, 0.210),
        ("Santo", 0.244, 0.269),
        ("Swoboda", 0.244, 0.230),
        ("Unser", 0.222, 0.264),
        ("Williams", 0.222, 0.256),
        ("Scott", 0.222, 0.303),
        ("Petrocelli", 0.222, 0.264),
        ("E. Rodriguez", 0.222, 0.226),
        ("Campaneris", 0.200, 0.285),
        ("Munson", 0.178, 0.316),
        ("Alvis", 0.156, 0.200),
    ]
    frame = pd.DataFrame(rows, columns=["player", "y", "ability"])
    frame.insert(2, "sigma", 0.06)
    frame.insert(3, "at_bats", 45)
    return frame


def load_eight_schools() -> pd.DataFrame:
    """Effects of coaching on SAT-V scores in eight parallel randomised trials.

    Returns
    -------
    DataFrame
        Columns ``school``; ``y``, the estimated effect in points; ``sigma``, its standard error.

    References
    ----------
    Rubin (1981), Estimation in parallel randomized experiments, Journal of Educational
    Statistics 6:377-401; Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., table 5.2.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_eight_schools().head(2)
      school     y  sigma
    0      A  28.0   15.0
    1      B   8.0   10.0
    """
    return pd.DataFrame(
        {
            "school": list("ABCDEFGH"),
            "y": [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0],
            "sigma": [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0],
        }
    )


def load_school_calendar() -> pd.DataFrame:
    """Effects of a modified school calendar on achievement in 56 schools of 11 districts.

    Returns
    -------
    DataFrame
        Columns ``district``, its number as text; ``school``, the number of the study as text, a
        label that no other district has; ``year`` of the study; ``y``, the standardised mean
        difference in achievement between pupils with a modified calendar, of shorter and more
        frequent holidays, and pupils with the traditional one; ``se``, its standard error, the
        root of the published sampling variance.

    References
    ----------
    Konstantopoulos (2011), Fixed effects and variance components estimation in three-level
    meta-analysis, Research Synthesis Methods 2:61-76; the studies are from Cooper, Valentine,
    Charlton & Melson (2003), Review of Educational Research 73:1-52.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_school_calendar().head(2)
      district school  year     y        se
    0       11      1  1976 -0.18  0.343511
    1       11      2  1976 -0.22  0.343511
    """
    years: dict[str, int | list[int]] = {
        "11": 1976,
        "12": 1989,
        "18": 1994,
        "27": 1976,
        "56": 1997,
        "58": 1976,
        "71": 1997,
        "86": 1997,
        "91": 2000,
        "108": 2000,
        "644": [1995, 1995, 1994, 1994],
    }
    effects = {
        "11": [-0.18, -0.22, 0.23, -0.30],
        "12": [0.13, -0.26, 0.19, 0.32],
        "18": [0.45, 0.38, 0.29],
        "27": [0.16, 0.65, 0.36, 0.60],
        "56": [0.08, 0.04, 0.19, -0.06],
        "58": [-0.18, 0.00, 0.00, -0.28, -0.04, -0.30, 0.07, 0.00, 0.05, -0.08, -0.09],
        "71": [0.30, 0.98, 1.19],
        "86": [-0.07, -0.05, -0.01, 0.02, -0.03, 0.00, 0.01, -0.10],
        "91": [0.50, 0.66, 0.20, 0.00, 0.05, 0.07],
        "108": [-0.52, 0.70, -0.03, 0.27, -0.34],
        "644": [0.12, 0.61, 0.04, -0.05],
    }
    variances: dict[str, float | list[float]] = {
        "11": [0.118, 0.118, 0.144, 0.144],
        "12": [0.014, 0.014, 0.015, 0.024],
        "18": [0.023, 0.043, 0.012],
        "27": [0.020, 0.004, 0.004, 0.007],
        "56": [0.019, 0.007, 0.005, 0.004],
        "58": [0.020, 0.018, 0.019, 0.022, 0.020, 0.021, 0.006, 0.007, 0.007, 0.007, 0.007],
        "71": [0.015, 0.011, 0.010],
        "86": 0.001,
        "91": [0.010, 0.011, 0.010, 0.009, 0.013, 0.013],
        "108": [0.031, 0.031, 0.030, 0.030, 0.030],
        "644": [0.087, 0.082, 0.067, 0.067],
    }
    districts = [
        pd.DataFrame(
            {"district": name, "year": years[name], "y": y, "se": np.sqrt(variances[name])}
        )
        for name, y in effects.items()
    ]
    frame = pd.concat(districts, ignore_index=True)
    frame.insert(1, "school", [str(study) for study in range(1, len(frame) + 1)])
    return frame


def load_pastes() -> pd.DataFrame:
    """Strength of a chemical paste in two assays of each of three casks of ten batches.

    Returns
    -------
    DataFrame
        60 rows with columns ``batch``, A to J; ``cask``, a to c: the three casks of a batch, whose
        labels repeat in other batches, so that ``groups=["batch", "cask"]`` must be said;
        ``strength`` in per cent.

    References
    ----------
    Davies & Goldsmith (1972), Statistical Methods in Research and Production, 4th ed., Oliver &
    Boyd, section 6.5.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_pastes().head(3)
      batch cask  strength
    0     A    a      62.8
    1     A    a      62.6
    2     A    b      60.1
    """
    assays = {
        "A": [62.8, 62.6, 60.1, 62.3, 62.7, 63.1],
        "B": [60.0, 61.4, 57.5, 56.9, 61.1, 58.9],
        "C": [58.7, 57.5, 63.9, 63.1, 65.4, 63.7],
        "D": [57.1, 56.4, 56.9, 58.6, 64.7, 64.5],
        "E": [55.1, 55.1, 54.7, 54.2, 58.8, 57.5],
        "F": [63.4, 64.9, 59.3, 58.1, 60.5, 60.0],
        "G": [62.5, 62.6, 61.0, 58.7, 56.9, 57.7],
        "H": [59.2, 59.4, 65.2, 66.0, 64.8, 64.1],
        "I": [54.8, 54.8, 64.0, 64.0, 57.7, 56.8],
        "J": [58.3, 59.3, 59.2, 59.2, 58.9, 56.6],
    }
    rows = [
        (batch, cask, strength)
        for batch, strengths in assays.items()
        for cask, strength in zip("aabbcc", strengths, strict=True)
    ]
    return pd.DataFrame(rows, columns=["batch", "cask", "strength"])


def load_dyestuff() -> pd.DataFrame:
    """Yields of dyestuff from five preparations of each of six batches of an intermediate.

    Returns
    -------
    DataFrame
        30 rows with columns ``batch``, A to F; ``yield_``, in grams of standard colour.

    References
    ----------
    Davies & Goldsmith (1972), Statistical Methods in Research and Production, 4th ed., Oliver &
    Boyd, section 6.4; Box & Tiao (1973), Bayesian Inference in Statistical Analysis,
    Addison-Wesley, section 5.1.2.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_dyestuff().head(2)
      batch  yield_
    0     A  1545.0
    1     A  1440.0
    """
    batches = {
        "A": [1545, 1440, 1440, 1520, 1580],
        "B": [1540, 1555, 1490, 1560, 1495],
        "C": [1595, 1550, 1605, 1510, 1560],
        "D": [1445, 1440, 1595, 1465, 1545],
        "E": [1595, 1630, 1515, 1635, 1625],
        "F": [1520, 1455, 1450, 1480, 1445],
    }
    rows = [(batch, float(value)) for batch, values in batches.items() for value in values]
    return pd.DataFrame(rows, columns=["batch", "yield_"])


def load_penicillin() -> pd.DataFrame:
    """Diameters of the zones in which six samples of penicillin kept bacteria from growing.

    On each of 24 plates was a drop of each sample, so that plates and samples are crossed.

    Returns
    -------
    DataFrame
        144 rows with columns ``diameter`` of the zone, in millimetres; ``plate``, ``"a"`` to
        ``"x"``; and ``sample``, ``"A"`` to ``"F"``.

    References
    ----------
    Davies & Goldsmith (1972), Statistical methods in research and production, 4th edition, Hafner,
    table 6.6; as in the R package lme4.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_penicillin().head(2)
       diameter plate sample
    0      27.0     a      A
    1      23.0     a      B
    """
    # fmt: off
    diameters = (
        (27, 23, 26, 23, 23, 21), (27, 23, 26, 23, 23, 21), (25, 21, 25, 24, 24, 20),
        (26, 23, 25, 23, 23, 20), (25, 22, 26, 22, 23, 20), (24, 22, 25, 23, 22, 19),
        (24, 20, 23, 21, 22, 19), (26, 22, 26, 24, 24, 21), (24, 21, 24, 22, 22, 20),
        (24, 21, 24, 23, 22, 19), (26, 23, 26, 24, 24, 21), (25, 22, 26, 24, 24, 20),
        (26, 24, 26, 24, 25, 22), (26, 23, 26, 23, 23, 20), (26, 23, 25, 24, 24, 22),
        (25, 22, 25, 23, 23, 20), (25, 21, 24, 23, 23, 20), (25, 22, 24, 23, 23, 19),
        (24, 21, 23, 21, 21, 19), (26, 23, 26, 24, 24, 21), (25, 21, 24, 22, 22, 18),
        (25, 22, 25, 22, 22, 20), (24, 21, 24, 22, 24, 19), (24, 21, 24, 22, 21, 18),
    )
    # fmt: on
    rows = [
        (float(diameter), plate, sample)
        for plate, of_plate in zip("abcdefghijklmnopqrstuvwx", diameters, strict=True)
        for sample, diameter in zip("ABCDEF", of_plate, strict=True)
    ]
    return pd.DataFrame(rows, columns=["diameter", "plate", "sample"])
