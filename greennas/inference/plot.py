"""Figures of benchmarks, each file offline and whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from greennas.errors import ConfigError, bare_reason
from greennas.files import write_text

COLOURS = ("#1b7f5c", "#c2571a", "#3b5bb5", "#8a4fa3", "#9c7a00", "#b8336a")
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def layout(x: str, y: str, **more: Any) -> dict[str, Any]:
    """Plotly's layout: white, quiet grid, legend above."""
    axis = {"gridcolor": "#e6e8ea", "linecolor": "#9aa1a8", "zeroline": False, "automargin": True}
    return {
        "font": {"family": _FONT, "size": 13},
        "margin": {"l": 70, "r": 20, "t": 40, "b": 60},
        "height": 480,
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom"},
        "xaxis": {**axis, "title": {"text": escape(x, quote=False)}},
        "yaxis": {**axis, "title": {"text": escape(y, quote=False)}},
        **more,
    }


def write_page(path: Path, title: str, figures: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> None:
    """Write figures and the sentences below them as one HTML file.

    Args:
        path: the file.
        title: its heading.
        figures: plotly figures, as dictionaries with data and layout.
        notes: sentences.

    Raises:
        ConfigError: it cannot be written.
    """
    from plotly.io import to_html

    parts = [
        to_html(dict(figure), full_html=False, include_plotlyjs=position == 0, validate=False)
        for position, figure in enumerate(figures)
    ]
    text = "".join(f"<p>{escape(note)}</p>\n" for note in notes)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>body {{ font-family: {_FONT}; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}</style>"
        "</head>\n"
        f"<body><h1>{escape(title)}</h1>\n{''.join(parts)}\n{text}</body></html>\n"
    )
    try:
        write_text(path, page)
    except OSError as error:
        raise ConfigError(f"The plot {path} cannot be written: {bare_reason(error)}; choose another.") from error
