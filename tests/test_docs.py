"""The documentation cannot rot: every setting stands there with its default, and every example runs."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
import yaml
from pydantic import BaseModel

import greennas
from greennas import results
from greennas.cli import app
from greennas.config import METRICS, SearchConfig, load_config
from greennas.sampler.history import PROBE

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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


def test_the_example_of_a_file_is_valid(tmp_path: Path) -> None:
    ((_, text),) = [block for block in FENCE.findall((DOCS / "configuration.md").read_text()) if block[0] == "yaml"]
    file = tmp_path / "search.yaml"
    file.write_text(text)
    assert load_config(file).model_fields_set == set(yaml.safe_load(text))


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


# Examples.


def blocks() -> Iterator[Any]:
    guides = (
        "quickstart",
        "data",
        "prediction",
        "search_spaces",
        "tables",
        "inference",
        "reproduce",
        "rungs",
        "training",
    )
    for page in [*(f"docs/{name}.md" for name in guides), "README.md"]:
        kept = [block for block in FENCE.findall((ROOT / page).read_text()) if block[0] in ("python", "bash")]
        # README's shell commands install the package, which is no test's business.
        kept = [block for block in kept if page != "README.md" or block[0] == "python"]
        yield pytest.param(kept, id=page)


def commands() -> Iterator[Any]:
    """Every line of the documentation that calls ``greennas``, in a block of code or between text."""
    for page in [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]:
        lines = page.read_text().replace("\\\n", " ").splitlines()
        for line in lines:
            if match := re.match(r"(?:    )?(greennas [a-z].*)", line):
                yield pytest.param(match[1], id=f"{page.stem}: {match[1][:60]}")


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_has_such_options(line: str) -> None:
    words = shlex.split(line, comments=True)
    words = words[1 : next((i for i, word in enumerate(words) if word in ("|", "&&", ">", ";")), len(words))]
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0) if words[0] in command.commands else "model"  # bench's own, where none is named
        assert name in command.commands, f"there is no command {words[0]}"
        command = command.commands[name]
    command.make_context("greennas", words)


def pictures(folder: Path) -> None:
    """Two classes of small images: dark and bright ones."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for label, mean in (("dark", 60), ("bright", 190)):
        (folder / label).mkdir(parents=True)
        for i in range(40):
            noise = rng.normal(mean, 30, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / label / f"{i}.png")


@pytest.mark.parametrize("examples", list(blocks()))
def test_the_examples_run(examples: list[tuple[str, str]], tmp_path: Path) -> None:
    pictures(tmp_path / "pictures")
    assert examples
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for language, text in examples:
        named = re.match(r"# (\w+\.py)\n", text)
        if named:  # a file that later examples use
            (tmp_path / named[1]).write_text(text)
            continue
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euc", text]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert done.stdout
