"""The examples of docs/export.md, on a small run in place of theirs."""

from __future__ import annotations

import glob
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greennas.cli import main
from greennas.pick import pick
from greennas.results import SearchResult
from greennas.run import RunFolder

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def test_the_examples_run_one_after_the_other(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "runs" / "example")
    folder = RunFolder.open(run)
    result = SearchResult(folder.config, folder.read_study(), run)
    best = pick(result, "most-accurate").architecture_id
    other = next(
        trial for trial in result.completed if trial.architecture_id not in (best, pick(result, "knee").architecture_id)
    )
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert {language for language, _ in blocks} == {"bash", "python"}
    for language, text in blocks:
        if language == "python":
            done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout
            continue
        for line in text.splitlines():
            words = [glob.glob(word)[0] if "*" in word else word for word in shlex.split(line)]
            if "--teacher" in words:  # the front of so small a search may be one network
                words[words.index("--pick") + 1] = other.architecture_id
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as ended:
                main()
            assert ended.value.code in (None, 0), f"{line}: {capsys.readouterr().err}"
    assert (tmp_path / "trained-model" / "model.pt2").is_file()
    assert (tmp_path / "copy" / "model.safetensors").is_file()
