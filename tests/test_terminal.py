"""What a user meets before anything is searched: completion, help, sentences."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import rejected

from greennas.cli import main


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("greennas sea", ["search"]),
        ("greennas search --tri", ["--trials"]),
        ("greennas search --space nas", ["nasbench101", "nasbench201"]),
        ("greennas search --sampler n", ["nsga2", "nsga3"]),
        ("greennas search --data cif", ["cifar10", "cifar100"]),
    ],
)
def test_the_shell_completes_commands_options_and_values(line: str, words: list[str]) -> None:
    # As bash's function calls it, which "greennas --install-completion" installs.
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'greennas'; from greennas.cli import main; main()"]
    asked = {"_GREENNAS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **asked})
    assert done.stdout.split() == words


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["predict", "--arch", "no.json"], "The architecture no.json cannot be read (No such file or directory); give"),
        (
            ["search", "--config", "no.yaml"],
            "The configuration no.yaml cannot be read (No such file or directory); check",
        ),
        (["search", "--objectives", "accuracy:max,cost:min"], "These settings do not fit together: there is no metric"),
    ],
)
def test_sentences_are_for_people(
    args: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in rejected(capsys, monkeypatch, *args)


def test_the_version_and_where_to_begin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for option, words in (("--version", "greennas 0.1.0"), ("--help", "Begin with 'greennas search --dry-run'")):
        monkeypatch.setattr(sys, "argv", ["greennas", option])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        assert words in capsys.readouterr().out
