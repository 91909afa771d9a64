"""Counts from the literature, typed from their publications."""

from __future__ import annotations

import pandas as pd


def load_surgical() -> pd.DataFrame:
    """Deaths after cardiac surgery of infants in 12 hospitals.

    Returns
    -------
    DataFrame
        Columns ``hospital``, A to L; ``deaths`` among its ``cases``, the operations.

    References
    ----------
    Spiegelhalter, Thomas, Best & Gilks (1996), BUGS 0.5 Examples Volume 1, MRC Biostatistics Unit,
    Cambridge, "Surgical: institutional ranking".

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_surgical().head(2)
      hospital  deaths  cases
    0        A       0     47
    1        B      18    148
    """
    return pd.DataFrame(
        {
            "hospital": list("ABCDEFGHIJKL"),
            "deaths": [0, 18, 8, 46, 8, 13, 9, 31, 14, 8, 29, 24],
            "cases": [47, 148, 119, 810, 211, 196, 148, 215, 207, 97, 256, 360],
        }
    )


def load_cbpp() -> pd.DataFrame:
    """New cases of contagious bovine pleuropneumonia in 15 herds of zebu cattle in Ethiopia.

    Returns
    -------
    DataFrame
        Columns ``herd`` and ``period``, numbers as text; ``incidence``, the new cases in a period
        among the ``size`` animals of the herd.

    References
    ----------
    Lesnoff et al. (2004), Within-herd spread of contagious bovine pleuropneumonia in Ethiopian
    highlands, Preventive Veterinary Medicine 64:27-40.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_cbpp().head(2)
      herd period  incidence  size
    0    1      1          2    14
    1    1      2          3    12
    """
    last = [4, 3, 4, 4, 4, 4, 4, 1, 4, 4, 4, 4, 4, 4, 4]  # period in which each was seen
    incidence = (
        "2 3 4 0 3 1 1 8 2 0 2 2 0 2 0 5 0 0 1 3 0 0 1 8 1 3 0 12 2 0 0 0 1 1 0 2 0 5 3 1 2 1 0 0 "
        "1 2 0 0 11 0 0 0 1 1 1 0"
    )
    size = (
        "14 12 9 5 22 18 21 22 16 16 20 10 10 9 6 18 25 24 4 17 17 18 20 16 10 9 5 34 9 6 8 6 22 "
        "22 18 22 25 27 22 22 10 8 6 5 21 24 19 23 19 2 3 2 19 15 15 15"
    )
    herd = [str(number) for number, end in enumerate(last, 1) for _ in range(end)]
    period = [str(number) for end in last for number in range(1, end + 1)]
    counts = {"incidence": _integers(incidence), "size": _integers(size)}
    return pd.DataFrame({"herd": herd, "period": period, **counts})


def load_rat_tumors() -> pd.DataFrame:
    """Female rats with endometrial stromal polyps in the control groups of 71 experiments.

    Returns
    -------
    DataFrame
        Columns ``experiment``, its number as text, of which 71 is the current one and the others
        came before; ``tumors``, the number of its ``rats`` that had one.

    References
    ----------
    Tarone (1982), The use of historical control information in testing for a trend in proportions,
    Biometrics 38:215-220; Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., table 5.1.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_rat_tumors().tail(2)
       experiment  tumors  rats
    69         70       9    24
    70         71       4    14
    """
    tumors = (
        "0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1 1 1 1 1 1 1 2 2 2 2 2 2 2 2 2 1 5 2 5 3 2 7 7 3 3 2 "
        "9 10 4 4 4 4 4 4 4 10 4 4 4 5 11 12 5 5 6 5 6 6 6 6 16 15 15 9 4"
    )
    rats = (
        "20 20 20 20 20 20 20 19 19 19 19 18 18 17 20 20 20 20 19 19 18 18 25 24 23 20 20 20 "
        "20 20 20 10 49 19 46 27 17 49 47 20 20 13 48 50 20 20 20 20 20 20 20 48 19 19 19 22 "
        "46 49 20 20 23 19 22 20 20 20 52 46 47 24 14"
    )
    counts = {"tumors": _integers(tumors), "rats": _integers(rats)}
    return pd.DataFrame({"experiment": _numbered(71), **counts})


def load_pumps() -> pd.DataFrame:
    """Failures of ten pump systems of a nuclear power plant, Farley 1.

    Returns
    -------
    DataFrame
        Columns ``pump``, its number as text; ``failures``; ``hours`` of operation, in thousands.

    References
    ----------
    Gaver & O'Muircheartaigh (1987), Robust empirical Bayes analyses of event rates, Technometrics
    29:1-15, table 3.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_pumps().head(2)
      pump  failures  hours
    0    1         5   94.3
    1    2         1   15.7
    """
    return pd.DataFrame(
        {
            "pump": _numbered(10),
            "failures": [5, 1, 5, 14, 3, 19, 1, 1, 4, 22],
            "hours": [94.3, 15.7, 62.9, 126.0, 5.24, 31.4, 1.05, 1.05, 2.1, 10.5],
        }
    )


def load_sarcoma_baskets() -> pd.DataFrame:
    """Patients who benefited from imatinib in ten subtypes of sarcoma, the baskets of a trial.

    Returns
    -------
    DataFrame
        Columns ``subtype``; ``responders``, those with a clinical benefit: a response at two
        months, or a response or stable disease at four; ``patients``, of whom these are.

    Notes
    -----
    The counts are from a secondary tabulation, that of Zhou & Ji, not from the trial's own tables.
    The abstract of Chugh et al. has the same responders of more patients, 189 in place of 179: 16
    angiosarcomas, 13 Ewing sarcomas, 12 fibrosarcomas, 29 leiomyosarcomas, 31 liposarcomas, 30
    malignant fibrous histiocytomas (MFH), 27 osteosarcomas, 7 malignant peripheral nerve sheath
    tumours (MPNST), 2 rhabdomyosarcomas and 22 synovial sarcomas; it calls 185 patients assessable.

    References
    ----------
    Chugh et al. (2009), Phase II multicenter trial of imatinib in 10 histologic subtypes of sarcoma
    using a Bayesian hierarchical statistical model, Journal of Clinical Oncology 27:3148-3153, as
    tabulated by Zhou & Ji (2024), Bayesian methods for information borrowing in basket trials: an
    overview, Cancers 16:251.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_sarcoma_baskets().head(2)
            subtype  responders  patients
    0  Angiosarcoma           2        15
    1         Ewing           0        13
    """
    rows = [
        ("Angiosarcoma", 2, 15),
        ("Ewing", 0, 13),
        ("Fibrosarcoma", 1, 12),
        ("Leiomyosarcoma", 6, 28),
        ("Liposarcoma", 7, 29),
        ("MFH", 3, 29),
        ("Osteosarcoma", 5, 26),
        ("MPNST", 1, 5),
        ("Rhabdomyosarcoma", 0, 2),
        ("Synovial", 3, 20),
    ]
    return pd.DataFrame(rows, columns=["subtype", "responders", "patients"])


def _integers(text: str) -> list[int]:
    """Integers that are written one after the other."""
    return [int(word) for word in text.split()]


def _numbered(size: int) -> list[str]:
    """Labels from 1 onwards."""
    return [str(number) for number in range(1, size + 1)]
