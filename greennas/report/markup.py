"""Pieces of HTML: tables, badges, sections. Arguments named ``html`` or ``cells`` are HTML, all others are text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Iterable[int] = ()) -> str:
    """A table that scrolls on its own where it is wider than the page.

    Args:
        caption: what the table holds, text.
        columns: headings, text.
        rows: cells, HTML; the first heads its row.
        numeric: columns that hold numbers.
    """
    right = set(numeric)
    align = [' class="number"' if i in right else "" for i in range(len(columns))]
    head = "".join(f'<th scope="col"{align[i]}>{escape(name)}</th>' for i, name in enumerate(columns))
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<th scope="row"{align[i]}>{cell}</th>' if i == 0 else f"<td{align[i]}>{cell}</td>"
            for i, cell in enumerate(cells)
        )
        + "</tr>"
        for cells in rows
    )
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption><span>{escape(caption)}</span></caption><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def badge(kind: str) -> str:
    """The kind of an energy, to stand behind its joules; empty for none."""
    return f' <span class="kind kind-{escape(kind.split(" ")[0].strip(","))}">{escape(kind)}</span>' if kind else ""


def section(identity: str, title: str, html: str) -> str:
    """A section with its heading."""
    name = escape(identity)
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{html}\n</section>'


def details(summary: str, html: str) -> str:
    """Something to unfold."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{html}\n</details>"


def paragraph(html: str, style: str = "") -> str:
    """A paragraph."""
    return f'<p class="{escape(style)}">{html}</p>' if style else f"<p>{html}</p>"
