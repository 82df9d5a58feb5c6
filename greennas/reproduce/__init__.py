"""Paper experiments again, from published data, beside the published numbers."""

from greennas.reproduce.ecnas import reproduce_ecnas
from greennas.reproduce.green_ai import reproduce_green_ai
from greennas.reproduce.output import html, markdown, write_all
from greennas.reproduce.result import Grid, Line, Published, Reproduction, Section

EXPERIMENTS = {
    "ecnas": "EC-NAS (ICASSP 2024): spaces, fronts, savings, search runs, surrogate; needs its published data",
    "green-ai": "Green AI (2020): the price tag E x D x H of search runs, held against their meters",
}
"""What can be reproduced, and in a sentence what it is."""

__all__ = [
    "EXPERIMENTS",
    "Grid",
    "Line",
    "Published",
    "Reproduction",
    "Section",
    "html",
    "markdown",
    "reproduce_ecnas",
    "reproduce_green_ai",
    "write_all",
]
