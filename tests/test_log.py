"""The log of a search, ``--verbose``, and what a terminal is shown."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import greennas
from greennas.cli import app
from greennas.errors import ConfigError
from greennas.log import LOGGER, explained, logged_to

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|DEBUG|ERROR) +(.*)")


def lines(path: Path) -> list[tuple[str, str]]:
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found)
    return [(match[1], match[2]) for match in found if match]


def search(space: str, out: Path, *more: str) -> str:
    settings = ["training.epochs=1", "training.batch_size=256", "energy.confirm=0", "screen.pool=20"]
    given = [word for setting in settings for word in ("--set", setting)]
    words = ["search", "--space", space, "--out", str(out), "--trials", "5", "--workers", "1", *given, *more]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stderr


def test_a_run_keeps_what_happened_and_why(small_space: str, tmp_path: Path) -> None:
    shown = search(small_space, tmp_path / "run")
    assert "chosen:" not in shown
    found = lines(tmp_path / "run" / "search.log")
    assert found[0][1].startswith("The search begins on ")
    assert found[-1] == ("INFO", "The search has ended: 5 COMPLETE, 0 PRUNED, 0 FAIL.")
    for number in range(5):
        assert any(re.match(rf"trial {number} begins: [0-9a-f]{{12}}$", text) for _, text in found)
        assert any(text.startswith(f"trial {number}: accuracy ") for level, text in found if level == "INFO")
    chosen = [text for level, text in found if text.startswith("chosen: ") and level == "DEBUG"]
    assert len(chosen) == 5
    assert "largest expected gain in hypervolume per joule; predicted: accuracy " in chosen[-1]
    greennas.continue_search(tmp_path / "run", overrides={"trials": 6})
    assert any(text.startswith("The search goes on after 5 trials") for _, text in lines(tmp_path / "run/search.log"))


def test_verbose_shows_why_and_nobody_elses_log_is_filled(small_space: str, tmp_path: Path) -> None:
    text = io.StringIO()
    theirs = logging.StreamHandler(text)
    logging.getLogger().addHandler(theirs)
    try:
        shown = search(small_space, tmp_path / "run", "--verbose")
    finally:
        logging.getLogger().removeHandler(theirs)
    assert shown.count("chosen: ") == 5
    assert shown.count("trial 3: accuracy") == 1  # as progress, and not once more
    assert "trial" not in text.getvalue()


def test_the_error_that_ends_a_search_stands_in_its_log(tmp_path: Path) -> None:
    path = tmp_path / "search.log"
    with pytest.raises(ConfigError), logged_to(path):
        raise ConfigError("Give postgresql://me:secret@host/db another name.")
    with pytest.raises(ZeroDivisionError), logged_to(path):
        _ = 1 / 0
    text = path.read_text()
    assert "ERROR Give postgresql://me:***@host/db another name." in text
    assert "secret" not in text
    assert "Traceback" in text
    assert "ZeroDivisionError" in text


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    with logged_to(Path("/dev/full")), explained(lambda text: None):
        LOGGER.info("no room for this")


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_colours_unless_it_wants_none(no_color: bool, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from greennas.cli import main; main()", "front", str(tmp_path)]
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if no_color else {})
    main, terminal = pty.openpty()
    done = subprocess.run(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, timeout=60)
    os.close(terminal)
    shown = os.read(main, 10_000).decode()
    os.close(main)
    assert done.returncode == 2
    assert "is not a run folder" in shown
    assert ("\x1b[31m" in shown) is not no_color
