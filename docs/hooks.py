"""What mkdocs fills in when it builds the site: the commands' help, links into the repository."""

from __future__ import annotations

import re
from typing import Any

import typer
import typer.main
from typer.cli import get_docs_for_click

from greennas.cli import app

REPOSITORY = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the help of every command in the place of ``{{ commands }}``; files outside of the site are named only."""
    if "{{ commands }}" in markdown:
        command = typer.main.get_command(app)
        text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="greennas")
        markdown = markdown.replace("{{ commands }}", "## " + text.partition("\n## ")[2])
    return REPOSITORY.sub(r"\1", markdown)
