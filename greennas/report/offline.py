"""A page in one offline file: sections, figures, style, scripts, and no request to a network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from greennas.report.markup import section
from greennas.report.plots import Figure


def document(
    kicker: str, title: str, introduction: str, sections: Sequence[tuple[str, str, str]], figures: Sequence[Figure]
) -> str:
    """The page, about 1.5 MB if there are figures. Equal arguments give equal pages.

    Args:
        kicker: what kind of page it is, text.
        title: heading, text.
        introduction: HTML below it.
        sections: id, heading (text) and content (HTML) of each; the figures are placed by ``figure_html``.
        figures: all that the content shows.
    """
    scripts = [_plotly(), _data("report.js")] if figures else [_data("report.js")]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return Template(_data("page.html")).substitute(
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:",
        style=_data("report.css"),
        kicker=escape(kicker),
        title=escape(title),
        introduction=introduction,
        navigation="\n".join(f'<li><a href="#{identity}">{escape(name)}</a></li>' for identity, name, _ in sections),
        sections="\n".join(section(*each) for each in sections),
        version=escape(_version()),
        data=_json({figure.name: {"data": figure.data, "layout": figure.layout} for figure in figures}),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def figure_html(figure: Figure, controls: str = "") -> str:
    """The place of a figure, with its heading and caption.

    Args:
        figure: it.
        controls: HTML between the plot and its caption.
    """
    height = figure.layout["height"]
    return (
        f'<figure><h3>{escape(figure.title)}</h3>\n<div class="plot" data-figure="{figure.name}" role="img" '
        f'aria-label="{escape(figure.alt)}" style="min-height:{height}px"></div>\n'
        f"{controls}<figcaption>{figure.caption}</figcaption></figure>"
    )


def trace_switch(figure: Figure, trace: str) -> str:
    """A box to tick that shows a trace of a figure; empty where the figure has no such trace."""
    if all(each["name"] != trace for each in figure.data):
        return ""
    names = f'data-plot="{escape(figure.name)}" data-trace="{escape(trace)}"'
    return f'<label class="switch" hidden><input type="checkbox" autocomplete="off" {names}> {escape(trace)}</label>'


def _json(value: object) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _plotly() -> str:
    return _data("vendor/plotly-basic.min.js").replace("</script", "<\\/script")


@cache
def _data(name: str) -> str:
    return files("greennas.report").joinpath(name).read_text(encoding="utf-8")


def _version() -> str:
    from greennas import __version__

    return __version__
