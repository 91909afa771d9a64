"""Repeated measurements of the same subjects, from the literature."""

from __future__ import annotations

import pandas as pd

# fmt: off
REACTIONS = {  # of the sleepstudy: by subject, day by day
    "308": (
        249.56, 258.7047, 250.8006, 321.4398, 356.8519, 414.6901, 382.2038, 290.1486,
        430.5853, 466.3535
    ),
    "309": (
        222.7339, 205.2658, 202.9778, 204.707, 207.7161, 215.9618, 213.6303, 217.7272,
        224.2957, 237.3142
    ),
    "310": (
        199.0539, 194.3322, 234.32, 232.8416, 229.3074, 220.4579, 235.4208, 255.7511,
        261.0125, 247.5153
    ),
    "330": (
        321.5426, 300.4002, 283.8565, 285.133, 285.7973, 297.5855, 280.2396, 318.2613,
        305.3495, 354.0487
    ),
    "331": (
        287.6079, 285, 301.8206, 320.1153, 316.2773, 293.3187, 290.075, 334.8177, 293.7469,
        371.5811
    ),
    "332": (
        234.8606, 242.8118, 272.9613, 309.7688, 317.4629, 309.9976, 454.1619, 346.8311,
        330.3003, 253.8644
    ),
    "333": (
        283.8424, 289.555, 276.7693, 299.8097, 297.171, 338.1665, 332.0265, 348.8399,
        333.36, 362.0428
    ),
    "334": (
        265.4731, 276.2012, 243.3647, 254.6723, 279.0244, 284.1912, 305.5248, 331.5229,
        335.7469, 377.299
    ),
    "335": (
        241.6083, 273.9472, 254.4907, 270.8021, 251.4519, 254.6362, 245.4523, 235.311,
        235.7541, 237.2466
    ),
    "337": (
        312.3666, 313.8058, 291.6112, 346.1222, 365.7324, 391.8385, 404.2601, 416.6923,
        455.8643, 458.9167
    ),
    "349": (
        236.1032, 230.3167, 238.9256, 254.922, 250.7103, 269.7744, 281.5648, 308.102,
        336.2806, 351.6451
    ),
    "350": (
        256.2968, 243.4543, 256.2046, 255.5271, 268.9165, 329.7247, 379.4445, 362.9184,
        394.4872, 389.0527
    ),
    "351": (
        250.5265, 300.0576, 269.8939, 280.5891, 271.8274, 304.6336, 287.7466, 266.5955,
        321.5418, 347.5655
    ),
    "352": (
        221.6771, 298.1939, 326.8785, 346.8555, 348.7402, 352.8287, 354.4266, 360.4326,
        375.6406, 388.5417
    ),
    "369": (
        271.9235, 268.4369, 257.2424, 277.6566, 314.8222, 317.2135, 298.1353, 348.1229,
        340.28, 366.5131
    ),
    "370": (
        225.264, 234.5235, 238.9008, 240.473, 267.5373, 344.1937, 281.1481, 347.5855,
        365.163, 372.2288
    ),
    "371": (
        269.8804, 272.4428, 277.8989, 281.7895, 279.1705, 284.512, 259.2658, 304.6306,
        350.7807, 369.4692
    ),
    "372": (
        269.4117, 273.474, 297.5968, 310.6316, 287.1726, 329.6076, 334.4818, 343.2199,
        369.1417, 364.1236
    ),
}
# fmt: on


def load_sleepstudy() -> pd.DataFrame:
    """Reaction times of 18 subjects over ten days with three hours in bed a night.

    Returns
    -------
    DataFrame
        180 rows with columns ``Reaction``, the mean reaction time in milliseconds of a series of
        tests; ``Days``, 0 to 9, of which 0 and 1 were spent in adaptation and training; and
        ``Subject``, a label.

    References
    ----------
    Belenky et al. (2003), Patterns of performance degradation and restoration during sleep
    restriction and subsequent recovery: a sleep dose-response study, Journal of Sleep Research
    12:1-12; as in the R package lme4.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_sleepstudy().head(2)
       Reaction  Days Subject
    0  249.5600     0     308
    1  258.7047     1     308
    """
    rows = [
        (float(reaction), day, subject)
        for subject, values in REACTIONS.items()
        for day, reaction in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["Reaction", "Days", "Subject"])


def load_orthodont() -> pd.DataFrame:
    """Growth of 27 children, measured on X-rays of their skulls at four ages.

    Returns
    -------
    DataFrame
        108 rows with columns ``distance`` from the pituitary gland to the pterygomaxillary fissure,
        in millimetres; ``age``, 8 to 14 years; ``Subject``, a label; and ``Sex``.

    References
    ----------
    Potthoff & Roy (1964), A generalized multivariate analysis of variance model useful especially
    for growth curve problems, Biometrika 51:313-326; labels as in the R package nlme.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hm.datasets.load_orthodont().head(2)
       distance  age Subject   Sex
    0      26.0    8     M01  Male
    1      25.0   10     M01  Male
    """
    # fmt: off
    boys = (
        (26, 25, 29, 31), (21.5, 22.5, 23, 26.5), (23, 22.5, 24, 27.5), (25.5, 27.5, 26.5, 27),
        (20, 23.5, 22.5, 26), (24.5, 25.5, 27, 28.5), (22, 22, 24.5, 26.5), (24, 21.5, 24.5, 25.5),
        (23, 20.5, 31, 26), (27.5, 28, 31, 31.5), (23, 23, 23.5, 25), (21.5, 23.5, 24, 28),
        (17, 24.5, 26, 29.5), (22.5, 25.5, 25.5, 26), (23, 24.5, 26, 30), (22, 21.5, 23.5, 25),
    )
    girls = (
        (21, 20, 21.5, 23), (21, 21.5, 24, 25.5), (20.5, 24, 24.5, 26), (23.5, 24.5, 25, 26.5),
        (21.5, 23, 22.5, 23.5), (20, 21, 21, 22.5), (21.5, 22.5, 23, 25), (23, 23, 23.5, 24),
        (20, 21, 22, 21.5), (16.5, 19, 19, 19.5), (24.5, 25, 28, 28),
    )
    # fmt: on
    rows = [
        (float(distance), age, f"{letter}{number:02d}", sex)
        for letter, sex, children in (("M", "Male", boys), ("F", "Female", girls))
        for number, distances in enumerate(children, start=1)
        for age, distance in zip((8, 10, 12, 14), distances, strict=True)
    ]
    return pd.DataFrame(rows, columns=["distance", "age", "Subject", "Sex"])
