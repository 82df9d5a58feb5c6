"""One offline HTML page on a search: a picture first, tables for those who read on."""

from greennas.report.page import html, write_report

__all__ = ["html", "write_report"]
