"""Published numbers of EC-NAS, each with the place where it stands."""

from __future__ import annotations

from greennas.reproduce.result import Published

CITATION = "EC-NAS (Bakhtiarifard, Igel and Selvan, ICASSP 2024, arXiv:2210.06015v4)"
ARTICLE = "the article"
README = "EC-NAS-Bench's README"
STUDY = "experiments/energy_predictor/README.md of GreenNAS"

SIZES = {
    "4V": Published("91", 91, 91, f"{README}, table of benchmarks"),
    "5V": Published("2632", 2632, 2632, f"{README}, table of benchmarks"),
    "7V": Published("423K", 422_500, 424_500, f"{README}, table of benchmarks"),
}
"""Architectures; 2632 is contradicted by the published graphs, which are 2,532."""

SURROGATE_DATA = Published("4310", 4310, 4310, f"{ARTICLE}, appendix C")
SURROGATE_SPLIT = tuple(Published.printed(text, f"{ARTICLE}, appendix C") for text in ("3020", "430", "860"))

AVOIDED_KWH = {
    "4V": Published.printed("48.931", f"{ARTICLE}, table 3"),
    "5V": Published.printed("1970.495", f"{ARTICLE}, table 3"),
}
AVOIDED_GPU_DAYS = {
    "4V": Published.printed("3.758", f"{ARTICLE}, table 3"),
    "5V": Published.printed("121.109", f"{ARTICLE}, table 3"),
}
AVOIDED_SHARE = Published("97%", 0.965, 0.985, f"{ARTICLE}, section 4")
BUDGETS = (4, 12, 36, 108)
"""Epochs; trainings over 4 were measured, the others scaled from them."""

KNEE_SAVES = Published("about 70%", 0.65, 1.0, f"{ARTICLE}, section 4; at least 65% counts")
KNEE_LOSES = Published("1%", -1.0, 0.015, f"{ARTICLE}, section 4; at most 1.5 points count")

METHODS = {"shemoa": "SH-EMOA", "rs": "random search", "msehvi": "MS-EHVI", "semoa": "SEMOA"}
POINTS = ("r0, least energy", "r1, most accurate", "rk, knee")
COLUMNS = ("seconds", "validation accuracy", "kWh", "log10 parameters")
TABLE_1 = {
    "shemoa": (
        ("15.22", "0.52", "0.01", "5.98"),
        ("1034.35", "0.91", "0.27", "6.55"),
        ("226.28", "0.85", "0.04", "6.27"),
    ),
    "rs": (
        ("14.23", "0.52", "0.01", "5.95"),
        ("1649.11", "0.94", "0.41", "7.05"),
        ("310.93", "0.89", "0.07", "6.51"),
    ),
    "msehvi": (
        ("14.23", "0.52", "0.01", "5.95"),
        ("1112.13", "0.92", "0.25", "6.80"),
        ("191.09", "0.83", "0.02", "6.01"),
    ),
    "semoa": (
        ("14.23", "0.52", "0.01", "5.95"),
        ("2555.95", "0.94", "0.62", "7.26"),
        ("306.9", "0.92", "0.07", "6.43"),
    ),
}
"""Table 1 of the article: means over ten runs on 7V, for ``POINTS`` and ``COLUMNS``.

The article heads the last column with millions of parameters; its numbers are their decimal logarithms.
"""

PERCEPTRON = {
    "7V": {"5 epochs, as its authors' code": (4.95, 0.896), "200 epochs, as the article says": (2.13, 0.952)},
    "5V": {"5 epochs, as its authors' code": (9.41, 0.838), "200 epochs, as the article says": (5.06, 0.880)},
}
"""Mean absolute percentage error and Kendall's tau of the published network on the test split, run by ``STUDY``."""

OUR_STUDY = {"7V": (1.52, 0.966), "5V": (4.37, 0.897)}
"""The same of GreenNAS's predictor in ``STUDY``, from all trainings of the training split."""
