"""The documentation cannot rot: every setting and module stands there. ``tests/docs`` runs its examples."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
import yaml
from pydantic import BaseModel

import greennas
from greennas import results
from greennas.cli import app
from greennas.config import METRICS, SearchConfig
from greennas.sampler.history import PROBE

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def table(page: str, heading: str) -> dict[str, list[str]]:
    """Rows of all tables of a page whose first heading is ``heading``: the first cell's code to the further cells."""
    rows: dict[str, list[str]] = {}
    inside = False
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == heading:
            inside = True
        elif inside and not cells[0].startswith("---"):
            name = cells[0].strip("`")
            assert name not in rows, f"{name} stands twice in {page}"
            rows[name] = cells[1:]
    return rows


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and default of every setting."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field.default


def test_every_setting_stands_in_the_documentation_with_its_default() -> None:
    written = table("configuration.md", "setting")
    known = dict(settings(SearchConfig))
    assert set(written) == set(known)
    for name, default in known.items():
        shown, meaning = yaml.safe_load(written[name][0].strip("`")), written[name][1]
        plain = ",".join(map(str, default)) if name == "objectives" else default
        plain = list(plain) if isinstance(plain, tuple) else plain  # as YAML has it
        assert shown == plain, f"the default of {name} is {plain}"
        assert type(shown) is type(plain), f"the default of {name} is {plain!r}"
        assert meaning.endswith(".")


def test_every_metric_stands_in_the_documentation_with_its_direction() -> None:
    written = table("configuration.md", "metric")
    assert {name: cells[0].strip("`") for name, cells in written.items()} == METRICS


def test_every_option_of_search_stands_in_the_documentation() -> None:
    command = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    text = (DOCS / "configuration.md").read_text()
    written = table("configuration.md", "option")
    other = set(re.findall(r"`(--[\w-]+)`", text.partition("are no settings")[0].rpartition("|\n")[2]))
    assert set(written) | other == options - {"--help"}
    known = dict(settings(SearchConfig))
    assert {cells[0].strip("`") for cells in written.values()} <= set(known)


def test_modules_and_keys_named_in_the_architecture_exist() -> None:
    text = (DOCS / "architecture.md").read_text()
    tree = [path for folder in ("greennas", "search_spaces") for path in (ROOT / folder).rglob("*.py")]
    modules = {str(path.relative_to(ROOT)) for path in tree if path.name != "__init__.py"}
    written = table("architecture.md", "module")
    assert set(written) == modules
    keys = {value for name, value in vars(results).items() if name.isupper() and isinstance(value, str)}
    keys = keys - {results.COST} | {PROBE}
    assert set(table("architecture.md", "key")) == keys
    for path in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (DOCS / path).exists(), path


def imports(module: str) -> set[str]:
    """Modules of the package that a module imports at its top level."""
    found: set[str] = set()
    for node in ast.parse((ROOT / module).read_text()).body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("greennas"):
            continue
        for name in [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]:
            file = f"{str(name).replace('.', '/')}.py"
            if (ROOT / file).is_file():
                found.add(file)
            elif (ROOT / file[:-3] / "__init__.py").is_file() and name != "greennas":
                found.add(f"{file[:-3]}/")
    return found


def test_modules_import_only_what_stands_above_them() -> None:
    order = list(table("architecture.md", "module"))
    for position, module in enumerate(order):
        folder = f"{Path(module).parent}/"
        for other in imports(module):
            if other == folder:  # the face of its own folder
                continue
            last = max(i for i, each in enumerate(order) if each.startswith(other))
            assert last < position, f"{module} imports {other}, which stands below it"


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"] == greennas.__version__
    assert citation["license"] == project["license"]
    assert f"## [{greennas.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
