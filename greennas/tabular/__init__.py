"""Tabular benchmarks: published tables of trained architectures as instant evaluators."""

from greennas.tabular.ec_nas import read_ec_nas, read_ec_nas_parts, read_surrogate_data
from greennas.tabular.ec_nas_runs import PublishedRun, read_published_runs
from greennas.tabular.files import read_table
from greennas.tabular.nasbench101 import read_nasbench101, read_nasbench101_budgets
from greennas.tabular.table import Table, energy_column

__all__ = [
    "PublishedRun",
    "Table",
    "energy_column",
    "read_ec_nas",
    "read_ec_nas_parts",
    "read_nasbench101",
    "read_nasbench101_budgets",
    "read_published_runs",
    "read_surrogate_data",
    "read_table",
]
