"""The page in a real browser: it draws its plots, says nothing in the console, and asks the network for nothing."""

from __future__ import annotations

import html as markup
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from report_studies import StudyMaker, whole_search
from test_page import hostile

from greennas.report import html, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page with")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=5000",
]


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page: its DOM, what the console said, and the URLs that the page asked for."""

    dom: str
    console: list[str]
    requests: list[str]


def visit(page: Path, tmp_path: Path, *flags: str) -> Visit:
    assert CHROMIUM is not None
    log = tmp_path / f"{page.stem}-net.json"
    profile = tmp_path / f"{page.stem}-profile"
    command = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={profile}",
        f"--log-net-log={log}",
        *flags,
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    parameters = [event.get("params") or {} for event in json.loads(log.read_text())["events"]]
    # The browser's own requests (its clock, its updates) have no origin.
    requests = [each["url"] for each in parameters if each.get("initiator", "not an origin") != "not an origin"]
    return Visit(done.stdout, console, requests)


def test_a_page_that_does_what_it_must_not_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<script>console.error("broken")</script><img src="http://127.0.0.1:9/x.png">')
    seen = visit(page, tmp_path)
    assert any("broken" in line for line in seen.console)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]


def test_report_draws_all_its_plots(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(), tmp_path)
    write_report(result, tmp_path / "report.html")
    seen = visit(tmp_path / "report.html", tmp_path)
    assert seen.console == []
    assert seen.requests == []
    plots = seen.dom.split('data-figure="')[1:]
    assert len(plots) == 4
    for plot in plots:
        assert plot.count('class="main-svg"') >= 2
        assert 'class="point"' in plot
    assert plots[0].count('class="point"') >= len(result.completed) + result.screening.screened
    assert ">knee<" in plots[0]
    assert "rgb(27, 36, 32)" in plots[0]  # --ink of the light colours


def test_dark_mode_reaches_the_plots(tmp_path: Path) -> None:
    made = StudyMaker()
    made.add()
    write_report(made.result(), tmp_path / "dark.html")
    seen = visit(tmp_path / "dark.html", tmp_path, "--blink-settings=preferredColorScheme=0")
    assert seen.console == []
    assert "fill: rgb(229, 235, 231)" in seen.dom  # --ink of the dark colours
    assert "rgb(27, 36, 32)" not in seen.dom


@pytest.mark.parametrize("objectives", ["accuracy,train_energy_j", "train_energy_j,latency_ms,flops"])
def test_hostile_texts_run_nothing(objectives: str, tmp_path: Path) -> None:
    made = hostile()
    if objectives.startswith("train"):
        made = StudyMaker(objectives=objectives)
        made.add(reason="</script><script>console.error(1)</script>")
        made.add()
    write_report(made.result(), tmp_path / "hostile.html")
    seen = visit(tmp_path / "hostile.html", tmp_path)
    assert seen.console == []
    assert seen.requests == []
    assert seen.dom.count('class="main-svg"') >= 4


def test_body_does_not_scroll_sideways_on_a_phone(tmp_path: Path) -> None:
    page = markup.escape(html(whole_search(StudyMaker(), tmp_path)))
    frame = tmp_path / "phone.html"
    frame.write_text(
        f'<iframe width="360" height="800" srcdoc="{page}"></iframe><p id="widths"></p><script>'
        "const frame = document.querySelector('iframe');"
        "frame.onload = () => setTimeout(() => { const root = frame.contentDocument.documentElement;"
        "root.querySelectorAll('details').forEach((each) => { each.open = true; });"
        "widths.textContent = `${root.clientWidth} ${root.scrollWidth} ${frame.contentDocument.body.scrollWidth}`;"
        "}, 1000)</script>",
        encoding="utf-8",
    )
    widths = re.search(r'<p id="widths">(\d+) (\d+) (\d+)</p>', visit(frame, tmp_path).dom)
    assert widths is not None
    client, scroll, body = map(int, widths.groups())
    assert client > 300
    assert scroll == client
    assert body <= client
