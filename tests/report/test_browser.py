"""The page in a real browser: drawn, pointed at, walked through with the keyboard, printed, and checked by axe-core."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from report_studies import StudyMaker, whole_search
from test_comparison import result_of, runs
from test_page import hostile

from greennas.report import html
from greennas.report.comparison_page import html as comparison_html
from greennas.results import SearchResult

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page with")
# A browser of a test asks nobody for updates.
FLAGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PHONE = {"viewport": {"width": 360, "height": 800}, "has_touch": True, "is_mobile": True}
DARK = {"color_scheme": "dark"}


@dataclass
class Visit:
    """A page in the browser, what the console said, and the URLs that the page asked for."""

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def chosen(self) -> list[str]:
        return list(self.page.eval_on_selector_all("article.chosen", "all => all.map(each => each.id)"))

    def pointed(self) -> list[str]:
        return list(self.page.eval_on_selector_all(".line.pointed", "all => all.map(each => each.dataset.network)"))

    def rings(self) -> int:
        """Points of the Pareto plot that have a ring."""
        return int(self.page.evaluate("document.querySelector('[data-figure=pareto]').data.at(-1).x.length"))

    def point(self, number: int) -> None:
        """Point at a trained network in the Pareto plot, and wait for its label."""
        self.page.mouse.move(*self._place(number))
        self.page.locator("[data-figure=pareto] .hovertext").wait_for(timeout=60_000)

    def click(self, number: int) -> None:
        """Click on a network of the front in the Pareto plot, again where a busy browser has missed it."""
        for patience_ms in (5_000, 10_000, 60_000):
            self.point(number)
            self.page.mouse.down()
            self.page.mouse.up()
            with suppress(playwright.TimeoutError):
                self.page.wait_for_selector("article.chosen", state="attached", timeout=patience_ms)
                return

    def _place(self, number: int) -> tuple[float, float]:
        """Where a trained network is drawn, in pixels of the window."""
        self.page.evaluate("document.querySelector('[data-figure=pareto]').scrollIntoView({block: 'center'})")
        found = self.page.evaluate(
            """number => {
              const plot = document.querySelector('[data-figure=pareto]'), { xaxis, yaxis } = plot._fullLayout;
              const box = plot.getBoundingClientRect();
              for (const trace of plot.data) {
                const i = (trace.customdata || []).indexOf(number);
                if (i < 0) continue;
                return [box.x + xaxis._offset + xaxis.d2p(trace.x[i]), box.y + yaxis._offset + yaxis.d2p(trace.y[i])];
              }
            }""",
            number,
        )
        return found[0], found[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


def open_page(browser: Any, file: Path, text: str, address: str = "", **device: Any) -> Visit:
    file.write_text(text, encoding="utf-8")
    context = browser.new_context(reduced_motion="reduce", **device)
    context.set_default_timeout(120_000)  # machines that are busy with other tests take their time
    seen = Visit(context.new_page())
    seen.page.on("console", lambda message: seen.console.append(message.text))
    seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.goto(file.as_uri() + address)
    assert seen.requests.pop(0).partition("#")[0] == file.as_uri()
    return seen


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    opened: list[Visit] = []

    def another(text: str, address: str = "", **device: Any) -> Visit:
        opened.append(open_page(browser, tmp_path / f"page {len(opened)}.html", text, address, **device))
        return opened[-1]

    yield another
    for seen in opened:
        seen.page.context.close()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return whole_search(StudyMaker(), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def report(browser: Any, result: SearchResult, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """The report, for tests that leave it as they found it."""
    rights = ["clipboard-read", "clipboard-write"]
    file = tmp_path_factory.mktemp("report") / "report.html"
    return open_page(browser, file, html(result), color_scheme="light", permissions=rights)


def test_a_page_that_does_what_it_must_not_is_seen(visit: Callable[..., Visit]) -> None:
    seen = visit(
        '<script>console.error("broken"); nothing()</script><img src="http://127.0.0.1:9/x.png"><p id=a><p id=a>'
    )
    assert any("broken" in line for line in seen.console)
    assert any("nothing is not defined" in line for line in seen.console)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]
    assert violations(seen)


def test_report_draws_all_its_plots(result: SearchResult, report: Visit) -> None:
    seen = report
    assert seen.console == []
    assert seen.requests == []
    plots = seen.page.locator("[data-figure]").all()
    assert len(plots) == 4
    for plot in plots:
        assert plot.locator(".main-svg").count() >= 2
        assert plot.locator(".point").count() > 0
    assert plots[0].locator(".point").count() >= len(result.completed) + result.screening.screened
    assert "knee" in plots[0].text_content()


def test_colours_follow_the_readers_choice_at_once(report: Visit) -> None:
    seen = report
    for scheme, ink in (("dark", "rgb(229, 235, 231)"), ("light", "rgb(27, 36, 32)")):
        seen.page.emulate_media(color_scheme=scheme)
        for selector, style in (("h1", "color"), ("[data-figure=pareto] .xtitle", "fill")):
            found = f"getComputedStyle(document.querySelector('{selector}')).{style}"
            end = time.monotonic() + 60
            while (shown := seen.page.evaluate(found)) != ink and time.monotonic() < end:
                time.sleep(0.1)
            assert shown == ink
    assert seen.console == []


def test_pointing_at_a_network_shows_it_everywhere(result: SearchResult, report: Visit) -> None:
    seen = report
    trial = result.front[0]
    seen.point(trial.number)
    label = seen.page.locator("[data-figure=pareto] .hoverlayer").text_content()
    assert trial.architecture_id in label
    assert "(modelled)" in label
    assert seen.pointed() == [str(trial.number)]
    assert seen.rings() == 1
    assert seen.chosen() == []
    seen.page.mouse.move(2, 2)
    seen.page.wait_for_selector(".line.pointed", state="detached")
    # The other way round: a link to a network, in the table or in the parallel coordinates, shows its point.
    seen.page.locator(f"#numbers a[href='#network-{trial.number}']").first.hover()
    assert (seen.rings(), seen.pointed()) == (1, [str(trial.number)])


def test_a_click_chooses_a_network_of_the_front(result: SearchResult, visit: Callable[..., Visit]) -> None:
    seen = visit(html(result))
    trial = result.front[1]
    seen.click(trial.number)
    assert seen.chosen() == [f"network-{trial.number}"]
    assert seen.page.url.endswith(f"#network-{trial.number}")
    link = seen.page.locator(".walk output a")
    assert trial.architecture_id in link.text_content()
    link.click()
    assert seen.page.locator("article.chosen").evaluate("each => each.getBoundingClientRect().top < innerHeight")
    dominated = next(each for each in result.completed if each not in result.front)
    seen.point(dominated.number)
    seen.page.mouse.down()
    seen.page.mouse.up()
    assert seen.chosen() == [f"network-{trial.number}"]
    again = visit(html(result), f"#network-{trial.number}")  # the address can be sent to somebody
    assert again.chosen() == [f"network-{trial.number}"]
    assert again.rings() == 1


def test_the_keyboard_alone_walks_along_the_front(result: SearchResult, visit: Callable[..., Visit]) -> None:
    seen = visit(html(result))
    keys = seen.page.keyboard
    seen.page.locator(".walk button").last.focus()
    for trial in result.front:
        keys.press("Enter")
        assert seen.chosen() == [f"network-{trial.number}"]
    keys.press("Enter")  # at the end there is no next one
    assert seen.chosen() == [f"network-{result.front[-1].number}"]
    seen.page.keyboard.press("Shift+Tab")
    seen.page.keyboard.press("Space")
    assert seen.chosen() == [f"network-{result.front[-2].number}"]
    seen.page.locator("#parallel .scroll").focus()
    keys.press("Tab")
    focused = seen.page.evaluate("document.activeElement.dataset.network")
    assert seen.pointed() == [focused]
    keys.press("Enter")
    seen.page.wait_for_selector(f"article.chosen[data-network='{focused}']", state="attached")


def test_everything_to_operate_is_reached_with_tab_and_shows_it(visit: Callable[..., Visit]) -> None:
    made = StudyMaker()
    for accuracy, joules in ((0.99, 100.0), (0.9, 20.0)):
        made.add(accuracy=accuracy, train_energy_j=joules)
    seen = visit(html(made.result(Path("run"))))
    seen.page.evaluate(
        """window.seen = []; addEventListener('focusin', () => {
          const each = document.activeElement, line = each.querySelector(':scope > path:last-child');
          const lit = getComputedStyle(each).outlineStyle !== 'none' || getComputedStyle(line).strokeWidth === '4px';
          window.seen.push([each, lit]); })"""
    )
    operable = "[...document.querySelectorAll('a, button, input, summary')].filter(each => each.checkVisibility())"
    for _ in range(120):
        seen.page.keyboard.press("Tab")
        if seen.page.evaluate("document.activeElement === document.body"):
            break
    else:
        pytest.fail("Tab never comes to the end of the page")
    assert seen.page.evaluate(f"{operable}.length") > 20
    missed = f"{operable}.filter(each => !window.seen.some(([one]) => one === each)).map(each => each.outerHTML)"
    assert seen.page.evaluate(missed) == []
    assert seen.page.evaluate("window.seen.filter(([, lit]) => !lit).map(([each]) => each.outerHTML)") == []


def test_intervals_of_predictions_are_shown_when_asked_for(result: SearchResult, report: Visit) -> None:
    seen = report
    bars = seen.page.locator("[data-figure=pareto] .xerror")
    before = bars.count()
    box = seen.page.get_by_role("checkbox")
    box.check()
    assert bars.count() >= before + result.screening.screened
    box.uncheck()
    assert bars.count() == before


def test_commands_can_be_copied(report: Visit) -> None:
    seen = report
    card = seen.page.locator("article").first
    card.get_by_role("button", name="Copy the command greennas export").click()
    assert card.locator("button").text_content() == "Copied"
    copied = seen.page.evaluate("navigator.clipboard.readText()")
    assert copied == card.locator("pre").text_content()
    assert copied.startswith("greennas export ")


@pytest.mark.parametrize("objectives", ["accuracy,train_energy_j", "train_energy_j,latency_ms,flops"])
def test_hostile_texts_run_nothing(objectives: str, visit: Callable[..., Visit]) -> None:
    made = hostile()
    if objectives.startswith("train"):
        made = StudyMaker(objectives=objectives)
        made.add(reason="</script><script>console.error(1)</script>")
        made.add()
    for text in (html(made.result()), comparison_html(runs(made.result(), made.result()))):
        seen = visit(text)
        assert seen.console == []
        assert seen.requests == []
        assert seen.page.locator(".main-svg").count() >= 2


def test_nothing_scrolls_sideways_on_a_phone(result: SearchResult, visit: Callable[..., Visit]) -> None:
    for text in (html(result), comparison_html(runs(result, result))):
        seen = visit(text, **PHONE)
        seen.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        client, scroll = seen.page.evaluate(
            "[document.documentElement.clientWidth, document.documentElement.scrollWidth]"
        )
        assert client == 360
        assert scroll == client
        heights = "[...document.querySelectorAll('button, label')].map(each => each.offsetHeight).filter(Boolean)"
        assert min(seen.page.evaluate(heights), default=24) >= 24  # WCAG 2.2, target size


def test_paper_is_light_and_has_everything_unfolded(result: SearchResult, visit: Callable[..., Visit]) -> None:
    seen = visit(html(result), **DARK)
    seen.page.evaluate(
        """addEventListener('beforeprint', () => { window.printed = {
          open: document.querySelectorAll('details:not([open]):not(article details)').length,
          ink: getComputedStyle(document.documentElement).getPropertyValue('--page') } })"""
    )
    assert seen.page.pdf(format="A4").startswith(b"%PDF")
    assert seen.page.evaluate("window.printed") == {"open": 0, "ink": "#fbfbf9"}
    assert seen.page.locator("details[open]").count() == 0
    assert seen.console == []


def violations(seen: Visit) -> list[str]:
    """What axe-core finds fault with: rule, and the elements."""
    found = axe.Axe().run(seen.page).response["violations"]
    return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in found]


def test_axe_finds_no_fault(result: SearchResult, visit: Callable[..., Visit]) -> None:
    comparison = comparison_html(runs(result, result_of((0.9, 10.0), kind="measured")))
    seen = visit(html(result))
    choose_and_unfold = """document.querySelectorAll('details').forEach(each => { each.open = true; });
        document.querySelector('.walk button:last-of-type').click()"""
    seen.page.evaluate(choose_and_unfold)
    assert violations(seen) == []
    seen.page.emulate_media(color_scheme="dark")
    assert violations(seen) == []
    assert violations(visit(comparison, **PHONE)) == []
    assert violations(visit(html(StudyMaker().result()))) == []
