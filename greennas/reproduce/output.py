"""A reproduction as Markdown, JSON and one offline HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from greennas.errors import ConfigError, bare_reason
from greennas.files import write_text
from greennas.report.markup import paragraph, table
from greennas.report.offline import document, figure_html
from greennas.reproduce.result import Line, Reproduction, Section

LINE_COLUMNS = ("number", "found", "published", "verdict", "agrees within", "source", "note")


def line_cells(line: Line) -> list[str]:
    """A line under ``LINE_COLUMNS``."""
    known = line.published
    texts = (known.text, known.source) if known else ("", "")
    return [line.what, line.text, texts[0], line.verdict, line.within, texts[1], line.note]


def markdown(found: Reproduction) -> str:
    """Everything but the figures."""
    parts = [f"# {found.title}", found.about, found.summary, "Read:", *(f"- {source}" for source in found.sources)]
    for section in found.sections:
        parts += [f"## {section.title}", *([section.text] if section.text else [])]
        if section.lines:
            parts.append(_markdown_table(LINE_COLUMNS, [line_cells(line) for line in section.lines]))
        for grid in section.grids:
            parts += [f"**{grid.title}**", _markdown_table(grid.columns, grid.texts())]
    return "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n"


def html(found: Reproduction) -> str:
    """One page that asks the network for nothing."""
    introduction = "\n".join(
        [
            f'<p class="headline">{escape(found.summary)}</p>',
            paragraph(escape(found.about)),
            *(paragraph(escape(source), "note") for source in found.sources),
        ]
    )
    figures = [figure for section in found.sections for figure in section.figures]
    sections = [(section.identity, section.title, _content(section)) for section in found.sections]
    return document("GreenNAS reproduction", found.title, introduction, sections, figures)


def write_all(found: Reproduction, folder: str | Path) -> list[Path]:
    """Write ``report.md``, ``result.json`` and ``report.html`` into ``folder``, and return their paths.

    Raises:
        ConfigError: the folder cannot be written.
    """
    folder = Path(folder).expanduser()
    contents = {
        "report.md": markdown(found),
        "result.json": json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n",
        "report.html": html(found),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_text(folder / name, content)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({bare_reason(error)}); give another --out.") from error
    return [folder / name for name in contents]


def _content(section: Section) -> str:
    parts = [paragraph(escape(section.text))] if section.text else []
    parts += ['<div class="trio">' + "".join(map(figure_html, section.figures)) + "</div>"] if section.figures else []
    if section.lines:
        rows = [[escape(cell) for cell in line_cells(line)] for line in section.lines]
        parts.append(table("Beside the published numbers", LINE_COLUMNS, rows))
    for grid in section.grids:
        parts.append(table(grid.title, grid.columns, [[escape(cell) for cell in row] for row in grid.texts()]))
    return "\n".join(parts)


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)
