"""Small data sets from the literature, typed from their publications."""

from __future__ import annotations

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
    0      Clemente  0.400   0.06       45    0.346
    1   F. Robinson  0.378   0.06       45    0.298
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
