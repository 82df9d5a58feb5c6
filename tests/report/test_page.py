from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from pathlib import Path

import pytest
from optuna.trial import TrialState
from report_studies import TRIALS, Page, StudyMaker, architecture_of, page_of, whole_search

from greennas import results as keys
from greennas.report import html, write_report

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"><!--'


def test_parameters_of_the_front_read_as_edges_and_as_a_drawing() -> None:
    made = StudyMaker()
    cell = dict.fromkeys(("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"), "none")
    made.add(architecture=architecture_of(cell | {"1<-0": "nor_conv_3x3", "3<-1": "skip_connect"}))
    article = page_of(made).root.one("article")
    rows = [[cell.text for cell in row.all("th") + row.all("td")] for row in article.one("tbody").all("tr")]
    assert rows == [["input → 1", "nor_conv_3x3"], ["1 → output", "skip_connect"]]
    drawing = article.one("svg")
    assert drawing.attributes["aria-label"] == "Cell: input to 1: nor_conv_3x3; 1 to output: skip_connect"
    assert len(drawing.all("path")) == 2
    assert [vertex.text for vertex in drawing.all("g")] == ["input", "1", "2", "output"]


def test_parameters_of_an_adjacency_matrix() -> None:
    made = StudyMaker(space="nasbench101")
    params = {"matrix": [[0, 1, 1], [0, 0, 1], [0, 0, 0]], "operations": ["conv3x3-bn-relu"]}
    made.add(architecture=architecture_of(params, "nasbench101"))
    article = page_of(made).root.one("article")
    assert [row.one("th").text for row in article.one("tbody").all("tr")] == [
        "input → conv3x3-bn-relu",
        "input → output",
        "conv3x3-bn-relu → output",
    ]
    assert len(article.one("svg").all("path")) == 3


@pytest.mark.parametrize(
    "params",
    [
        {"depth": [2, 3], "block": {"kernel": 3, "se": True}, "empty": []},
        {"width": 8, "optimizer": "sgd"},
        {"stage 1 blocks": 0},
        {"stage 1 blocks": 1, "stage 1 block 2 kernel": 3},
        {"stage 1 kernel": 3},
        {"matrix": [[0, 1], [0]], "operations": []},
        {"matrix": "xy", "operations": "zz"},
        {"1<-0": 3},
        {"0<-1": "conv"},
    ],
)
def test_parameters_of_any_other_form_are_listed(params: dict[str, object]) -> None:
    made = StudyMaker(space="mine.py")
    made.add(architecture=architecture_of(params, "mine.py"))
    article = page_of(made).root.one("article")
    assert article.all("svg") == []
    names = [row.one("th").text for row in article.one("tbody").all("tr")]
    assert all(any(name.split(".")[0] == key for name in names) for key in params)
    if "depth" in params:
        values = [row.all("td")[0].text for row in article.one("tbody").all("tr")]
        assert dict(zip(names, values, strict=True)) == {
            "depth": "2, 3",
            "block.kernel": "3",
            "block.se": "true",
            "empty": "[]",
        }


def test_numbers_of_another_form_are_shown_against_the_largest_one_trained() -> None:
    made = StudyMaker(space="mine.py")
    made.add(architecture=architecture_of({"width": 8}, "mine.py"), accuracy=0.9, train_energy_j=10.0)
    made.add(architecture=architecture_of({"width": 32}, "mine.py"), accuracy=0.99, train_energy_j=90.0)
    bars = [bar.attributes["style"] for bar in page_of(made).root.one(id="networks").all(class_="bar")]
    assert bars == ["width:100.0%", "width:25.0%"]


def test_each_network_comes_with_the_command_that_exports_it(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(), tmp_path)
    for trial, article in zip(result.front, Page(html(result)).root.all("article"), strict=True):
        assert article.attributes["id"] == f"network-{trial.number}"
        command = article.one("pre", class_="command").text
        assert command == f"greennas export {tmp_path} --pick {trial.architecture_id} --to model"


def test_to_run_it_again_shows_the_run_folders_files(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(seed=3), tmp_path)
    (tmp_path / "config.yaml").write_text("space: nasbench201 # <kept>\n")
    again = Page(html(result)).root.one(id="again")
    assert "space: nasbench201 # <kept>" in again.text
    assert '"torch": "2.13.0"' in again.text
    command = again.one("pre", class_="command").text
    assert command == f"greennas search --config {tmp_path}/config.yaml --out {tmp_path}-again"
    (tmp_path / "environment.json").unlink()
    assert "The environment was not recorded" in html(result)


def test_seed_configuration_and_data_without_a_run_folder() -> None:
    made = StudyMaker(**{"training.epochs": 7})
    made.config = made.config.model_copy(update={"seed": 41})
    made.add()
    page = page_of(made)
    facts = {row["Fact"].text: row["Value"].text for row in page.table("Seed, objectives and data")}
    assert facts["Seed"] == "41"
    assert facts["Objectives"] == "accuracy:max, train_energy_j:min"
    assert facts["Validation"] == "359"
    assert facts["Notes"] == "Split at random, by class."
    assert "epochs: 7" in page.root.one(id="again").text


def hostile() -> StudyMaker:
    made = StudyMaker(space=f"{HOSTILE}.py", **{"data.name": f"folder:{HOSTILE}"})
    facts = {**made.study.user_attrs[keys.DATA], "name": HOSTILE, "notes": [HOSTILE]}
    made.study.set_user_attr(keys.DATA, facts)
    made.add(TrialState.FAIL, failure=HOSTILE)
    for _ in range(3):
        made.add(architecture=architecture_of({HOSTILE: HOSTILE, "n": made.random.random()}, HOSTILE), reason=HOSTILE)
    made.add(architecture=architecture_of({"1<-0": HOSTILE}, HOSTILE), accuracy=0.999)
    return made


def test_what_users_wrote_is_shown_and_never_markup() -> None:
    page = page_of(hostile())
    assert page.root.all("img") == []
    assert len(page.root.all("script")) == 3  # the figures, the plotting library, the page's own
    assert HOSTILE in page.table(TRIALS)[0]["Outcome"].text
    assert HOSTILE in page.root.one("h1").text
    assert HOSTILE in page.root.one("head").one("title").text
    assert HOSTILE in page.root.one(id="networks").text
    assert HOSTILE in page.root.one(id="again").text
    figures = page.root.one("script", id="figures").text
    assert "<" not in figures
    hovers = [text for trace in page.figures["pareto"]["data"] for text in trace.get("hovertext", [])]
    assert any("&lt;/script&gt;" in text for text in hovers)
    assert not any(re.search(r"<(?!/?b>|br>)", text) for text in hovers)  # Plotly reads some tags, links among them


def test_page_asks_the_network_for_nothing_and_runs_only_its_own_scripts(tmp_path: Path) -> None:
    page = Page(html(whole_search(StudyMaker(), tmp_path)))
    for element in page.root.all():
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = element.attributes.get(name) or ""
            assert not re.match(r"\s*(//|[a-z]+:(?!,))", value), (element.tag, value)
    styles = page.root.one("style").text
    assert "url(" not in styles
    assert "@import" not in styles
    policy = str(page.root.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = [script.text for script in page.root.all("script") if "type" not in script.attributes]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests


def test_the_plotting_library_is_the_published_one() -> None:
    vendor = resources.files("greennas.report").joinpath("vendor")
    row = next(line for line in vendor.joinpath("README.md").read_text().splitlines() if "plotly-basic.min.js" in line)
    script = vendor.joinpath("plotly-basic.min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() in row
    version = re.search(rb"v(\d+\.\d+\.\d+)", script)
    assert version is not None
    assert f" {version[1].decode()} " in row


def test_page_reads_well_without_seeing_it(tmp_path: Path) -> None:
    root = Page(html(whole_search(StudyMaker(), tmp_path))).root
    assert root.one("html").attributes["lang"] == "en"
    assert root.one("meta", name="viewport").attributes["content"] == "width=device-width, initial-scale=1"
    assert len(root.all("h1")) == len(root.all("main")) == len(root.all("header")) == len(root.all("footer")) == 1
    skip = root.one("a", class_="skip")
    assert root.one(id=str(skip.attributes["href"])[1:]).tag == "main"
    for table in root.all("table"):
        assert table.one("caption").text.strip()
        assert all(cell.attributes.get("scope") in ("col", "row") for cell in table.all("th"))
    assert len(root.all(class_="plot")) == 4
    for plot in root.all(class_="plot"):
        assert plot.attributes["role"] == "img"
        assert len(str(plot.attributes["aria-label"])) > 40
    targets = [
        str(link.attributes["href"])[1:] for link in root.all("a") if str(link.attributes["href"]).startswith("#")
    ]
    identities = [element.attributes["id"] for element in root.all() if "id" in element.attributes]
    assert len(identities) == len(set(identities))
    assert set(targets) <= set(identities)
    for landmark in root.all("section"):
        assert root.one(id=str(landmark.attributes["aria-labelledby"])).tag == "h2"


def test_the_search_in_a_few_figures_stands_below_the_picture(tmp_path: Path) -> None:
    front = Page(html(whole_search(StudyMaker(), tmp_path))).root.one(id="front")
    tiles = {tile.one("dt").text.strip(): tile.one("dd").text for tile in front.one("dl", class_="tiles").all("div")}
    assert tiles["Trained to the end"].startswith("18")
    assert tiles["Failed"].startswith("1")
    assert {"Hypervolume", "Spent by the search modelled", "Saved by screening, predicted modelled"} <= set(tiles)


@pytest.mark.parametrize("outcome", ["nothing", "failed", "waiting", "incomplete"])
def test_page_without_a_trained_network(outcome: str) -> None:
    made = StudyMaker()
    if outcome == "failed":
        for _ in range(3):
            made.add(TrialState.FAIL, failure="dead network")
    elif outcome == "waiting":
        made.add(TrialState.WAITING)
    elif outcome == "incomplete":
        made.add(kind="unavailable", train_energy_j=None)
    page = page_of(made)
    why = "None of the 3 trainings succeeded" if outcome == "failed" else "No trial has been completed yet"
    assert page.root.one("p", class_="headline").text == f"{why}, so there is no front to show."
    assert page.figures == {}
    assert page.root.all(class_="plot") == []
    if outcome == "failed":
        assert [row["Outcome"].text for row in page.table(TRIALS)] == ["failed: dead network"] * 3


def test_page_of_networks_that_all_break_the_limits() -> None:
    made = StudyMaker(constraints={"min_accuracy": 0.999})
    for _ in range(3):
        made.add()
    page = page_of(made)
    headline = page.root.one("p", class_="headline").text
    assert headline == "None of the 3 trained networks keeps the limits, so there is no front to show."
    assert "pareto" in page.figures


def test_report_of_a_large_search_stays_under_three_megabytes() -> None:
    made = StudyMaker()
    for _ in range(400):
        made.add()
    text = html(made.result())
    assert len(text.encode()) < 3e6
    screened = Page(text).figures["pareto"]["data"][0]
    assert len(screened["x"]) == 600


def test_equal_results_give_equal_pages_and_the_file_holds_the_page(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(), tmp_path)
    write_report(result, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html(result)
    assert [file.name for file in tmp_path.iterdir() if "tmp" in file.name] == []
