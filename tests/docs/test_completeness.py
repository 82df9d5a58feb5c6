"""Nothing that looks like a command stands in the documentation without a test that runs it."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main
import yaml
from pages import FENCE, INSTALLATION, PAGES, ROOT, examples

from greennas.cli import app
from greennas.config import load_config

COMMAND = re.compile(
    r"\s*(?:\$ )?(?:\S*/)?(?:greennas|optuna-dashboard|mkdocs|python[\d.]*|ray|pip|git|srun)\s+[\w./-]"
)
SCRIPT = re.compile(r"`(python\S* \S+\.py[^`]*)`")
IN_YAML = {"greennas search --executor ray --ray-address auto --resources gpu=1,cpu=4 --concurrency 8"}
"""The entry point of Kubernetes' job, which a test of ``test_cluster_page.py`` takes out of it and runs."""


def sources_of(page: str) -> list[str]:
    """The source of the tests that bear the name of a page."""
    found = []
    for file in Path(__file__).parent.glob("test_*.py"):
        text = file.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.partition("__")[0] == f"test_{page}":
                found.append(ast.get_source_segment(text, node) or "")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_example_is_run(page: str) -> None:
    todo = {example.section for example in examples(page) if example.runs}
    for source in sources_of(page):
        named = set(re.findall(r'(?:only=|section == )"([^"]+)"', source))
        left_out = set(re.findall(r'but="([^"]+)"', source))
        whole_page = ".run(" in source and not named
        todo &= left_out if whole_page else todo - named
    assert not todo, f"no test runs the examples below {sorted(todo)} of {page}.md"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_an_example(page: str) -> None:
    text = PAGES[page].read_text()
    shown = [example.text for example in examples(page) if not example.runs]
    lines = [*FENCE.sub("", text).splitlines(), *INSTALLATION.sub("", "\n".join(shown)).splitlines()]
    found = [line.strip() for line in lines if COMMAND.match(line)]
    assert set(found) <= IN_YAML, "put commands into blocks of bash, so that they are run"
    assert not SCRIPT.findall(FENCE.sub("", text)), "put scripts with their options into blocks of bash"


def mentions() -> list[str]:
    return sorted(
        {each for path in PAGES.values() for each in re.findall(r"`(greennas [a-z][^`]*)`", path.read_text())}
    )


@pytest.mark.parametrize("mention", mentions())
def test_commands_within_a_sentence_have_such_options(mention: str) -> None:
    words = shlex.split(mention.replace("\\|", "|"))[1:]
    commands = [typer.main.get_command(app)]
    while words and hasattr(commands[0], "commands") and words[0] in commands[0].commands:
        commands = [commands[0].commands[words.pop(0)]]
    assert commands[0].name != "greennas", f"there is no command {words[0]}"
    commands += getattr(commands[0], "commands", {}).values()  # bench's own options are those of its first command
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= known | {"--help"}


def installations() -> list[str]:
    text = "\n".join(path.read_text() for path in PAGES.values())
    return sorted(set(re.findall(r"pip install ((?:[^`\n&]|&(?!&))+)", text)))


def test_lines_that_install_do_nothing_else() -> None:
    """They are not run; but README's are, see below."""
    texts = [example.text for page in PAGES if page != "README" for example in examples(page)]
    parts = [part for line in INSTALLATION.findall("".join(texts)) for part in line.strip().split(" && ")]
    assert parts
    assert [
        each for each in parts if not re.match(r"(python3\.11 -m venv|(\.venv/bin/)?pip install|git|cd) ", each)
    ] == []


@pytest.mark.parametrize("arguments", installations())
def test_what_is_to_be_installed_is_known(arguments: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text().split()
    for word in shlex.split(arguments):
        if extras := re.fullmatch(r"(?:greennas|\.)\[([\w,]+)\]", word):
            assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
        elif "==" in word:
            assert word in pins
        else:
            assert word in (".", "-c", "constraints.txt", "--index-url") or word.startswith("https://"), word


def test_the_first_two_commands_are_run_in_a_fresh_environment() -> None:
    """By ``.ci/run``, which takes them out of README.md by how they begin."""
    lines = PAGES["README"].read_text().splitlines()
    patterns = re.findall(r"grep -m1 '(.*)' README\.md", (ROOT / ".ci" / "run").read_text())
    taken = [next(line for line in lines if re.search(pattern, line)) for pattern in patterns]
    assert taken == [each.text.strip() for each in examples("README") if INSTALLATION.match(each.text)]


def configurations() -> list[str]:
    blocks = [example for page in PAGES for example in examples(page) if example.language == "yaml"]
    return [block.text for block in blocks if "apiVersion:" not in block.text]


@pytest.mark.parametrize("text", configurations())
def test_configurations_are_valid(text: str, tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(text)
    assert load_config(file).model_fields_set >= set(yaml.safe_load(text))
