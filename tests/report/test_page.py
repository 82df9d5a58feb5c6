from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from pathlib import Path

import pytest
from optuna.trial import TrialState
from report_studies import Page, StudyMaker, architecture_of, entry, whole_search

from greennas import results as keys
from greennas.carbon import CostEntry, Phase
from greennas.report import html, write_report

FRONT = "Networks on the front"
CONFIRMED = "Training energy of the front, measured again"
TRIALS = "All trials, in the order in which they were begun"
BILL = "Energy of the search, by what it was spent on and by kind"
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"><!--'


def page_of(made: StudyMaker) -> Page:
    return Page(html(made.result()))


def test_front_table_has_every_metric_with_its_kind_and_the_checkpoints(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(), tmp_path)
    rows = Page(html(result)).table(FRONT)
    assert [row["Architecture"].one("code").text for row in rows] == [trial.architecture_id for trial in result.front]
    for row, trial in zip(rows, result.front, strict=True):
        assert row["Validation accuracy"].text == f"{100 * (trial.metrics['accuracy'] or 0):.2f}%"
        assert row["Test accuracy"].text == f"{100 * trial.test['accuracy']:.2f}%"
        for name in ("Training energy", "Inference energy of 1,000 images"):
            assert re.fullmatch(r"[\d.,]+ J modelled", row[name].text)
        assert row["Latency"].text.endswith(" ms")
        assert row["FLOPs"].text.endswith(" M")
    links = [row["Checkpoint"].all("a") for row in rows]
    assert links[0] == []
    assert all((tmp_path / str(link[0].attributes["href"])).is_file() for link in links[1:])
    assert [bool(row["Architecture"].all(class_="mark")) for row in rows] == [t is result.knee for t in result.front]


def three_on_the_front() -> StudyMaker:
    made = StudyMaker()
    for accuracy, joules in ((0.99, 100.0), (0.98, 95.0), (0.90, 20.0)):
        made.add(accuracy=accuracy, train_energy_j=joules)
    return made


def test_energies_that_overlap_are_the_same_within_noise() -> None:
    made = three_on_the_front()
    assert CONFIRMED not in page_of(made).root.text
    made.confirm_front((101.0, 96.0, 106.0), (97.0, 93.0, 101.0), (21.0, 20.0, 22.0))
    page = page_of(made)
    rows = page.table(CONFIRMED)
    assert [row["Same within noise"].text for row in rows] == ["b", "b", "a"]
    assert rows[0]["Measured again"].text == "101 J modelled"
    assert rows[0]["95% interval"].text == "96 J to 106 J"
    first, second, _ = (trial.architecture_id for trial in made.result().front)
    assert f"not ranked by it: {first} and {second}." in page.root.text
    assert f"Measured again, {second} and {first} use the same training energy within noise" in page.root.text


def test_energies_that_do_not_overlap_are_ranked() -> None:
    made = three_on_the_front()
    made.confirm_front((101.0, 100.0, 102.0), (97.0, 96.0, 98.0), (21.0, 20.0, 22.0))
    page = page_of(made)
    assert [row["Same within noise"].text for row in page.table(CONFIRMED)] == ["c", "b", "a"]
    assert "here no two do" in page.root.text
    assert "do not rank them" not in page.root.text


def test_energies_that_could_not_be_measured_again_have_no_rank() -> None:
    made = three_on_the_front()
    made.confirm_front((101.0, 100.0, 102.0), None, None, kind="unavailable")
    assert [row["Measured again"].text.strip() for row in page_of(made).table(CONFIRMED)][1:] == ["unavailable"] * 2
    assert set(made.result().energy_groups) == {made.result().front[0].number}


def test_all_trials_say_what_came_of_them() -> None:
    made = StudyMaker()
    made.add()
    made.add(TrialState.PRUNED)
    made.add(TrialState.FAIL, failure="out of memory")
    made.add(TrialState.FAIL, interrupted=True)
    made.add(TrialState.RUNNING)
    made.add(TrialState.WAITING)
    made.add(latency_ms=None, train_energy_j=None)
    rows = {row["Trial"].text: row for row in page_of(made).table(TRIALS)}
    outcomes = {number: row["Outcome"].text for number, row in rows.items()}
    assert outcomes == {
        "0": "trained, on the front",
        "1": "stopped after 1 epoch",
        "2": "failed: out of memory",
        "3": "interrupted; queued again",
        "4": "running",
        "5": "waiting",
        "6": "trained, but without training energy: not on the front",
    }
    assert rows["6"]["Training energy"].text.strip() == "unavailable"
    assert rows["0"]["Chosen because"].text == "largest expected gain in hypervolume per joule"


def test_energies_of_tables_never_stand_without_a_kind(tmp_path: Path) -> None:
    page = Page(html(whole_search(StudyMaker(), tmp_path)))
    cells = 0
    for caption in (FRONT, TRIALS, BILL):
        for row in page.table(caption):
            for name, cell in row.items():
                if re.search(r"\d (mJ|J|kJ|kWh)\b", cell.text) and name != "Low to high":
                    assert cell.one(class_="kind").text == "modelled", (caption, name, cell.text)
                    cells += 1
    assert cells > 40


def test_bill_has_a_row_a_phase_and_a_total_a_kind() -> None:
    made = StudyMaker()
    made.add(kind="measured", train_energy_j=1000.0)
    made.add(TrialState.FAIL, kind="measured")
    made.study.set_user_attr(keys.DRIVER_COSTS, [entry(Phase.OVERHEAD, 500.0, "modelled")])
    page = page_of(made)
    rows = page.table(BILL)
    found = {(row["Spent on"].text, row["Energy"].text) for row in rows}
    assert ("training", "1,000 J measured") in found
    assert ("failed training", "11 J measured") in found
    assert ("overhead", "500 J modelled") in found
    assert ("All that is measured", "1,024 J measured") in found
    assert ("All that is modelled", "500 J modelled") in found
    text = page.root.text
    assert "Joules of different kinds are never added." in text
    assert "1,524" not in text
    bars = [row["Share within its kind"].all(class_="bar") for row in rows]
    assert [bar[0].attributes["style"] for bar in bars[:1]] == ["width:100.0%"]


def test_bill_by_worker_and_against_the_sessions_meters() -> None:
    made = StudyMaker()
    made.add(kind="measured", train_energy_j=1000.0)
    metered = [CostEntry.from_json(entry(Phase.OVERHEAD, 2000.0, "measured")).reading.to_json()]
    assert "Does the bill add up?" not in page_of(made).root.text
    made.study.set_user_attr(keys.METERED, metered)
    page = page_of(made)
    (row,) = page.table("Energy of the search by worker")
    own_j = sum(each.reading.energy_j or 0 for each in made.result().cost.entries)
    assert (row["Worker"].text, row["Energy"].text) == ("local-0", f"{own_j:,.0f} J measured")
    (row,) = page.table("Does the bill add up?")
    assert row["Metered over whole sessions"].text == "2,000 J"
    assert row["Entries over metered"].text == f"{own_j / 2000:.3f}"


def test_price_in_the_terms_of_green_ai() -> None:
    made = StudyMaker()
    made.add(kind="measured", train_energy_j=1000.0, flops=1e6)
    made.add(kind="measured", train_energy_j=3000.0, flops=3e6)
    tiles = {
        t.one("dt").text: t.one("dd").text
        for t in page_of(made).root.one(id="bill").one("dl", class_="tiles").all("div")
    }
    assert tiles["E one example, once in training"] == "0.464 J measured6 M FLOPs"
    assert tiles["D examples shown in a training"] == "4,312"
    assert tiles["H trainings that ran to their end"] == "2"
    assert tiles["E · D · H the GPU's share in these trainings"].startswith("4,000 J measured")


def test_what_screening_saved_is_called_predicted_and_has_an_interval() -> None:
    made = StudyMaker()
    made.add()
    text = " ".join(page_of(made).root.one(id="bill").text.split())
    assert re.search(
        r"7 networks were on a shortlist .* taken [\d.,]+ k?J modelled \([\d.,]+ k?J to [\d.,]+ k?J\), predicted", text
    )


def test_nothing_saved_where_nothing_was_screened_out() -> None:
    made = StudyMaker()
    made.add(screened=0)
    assert "Nothing was screened out, so nothing was saved." in page_of(made).root.text


def test_no_joules_saved_where_no_trainings_joules_are_known() -> None:
    made = StudyMaker()
    made.add(TrialState.FAIL, kind="unavailable")
    root = page_of(made).root
    assert "cannot be said in joules" in root.one(id="bill").text
    assert "Saved by screening" not in root.one(id="front").text


def test_emissions_only_with_a_grid_intensity() -> None:
    without, with_grid = StudyMaker(), StudyMaker(**{"energy.grid_intensity_g_per_kwh": 360.0})
    for made in (without, with_grid):
        made.add(kind="measured", train_energy_j=1e6, screened=0)
    assert "gCO2e" not in page_of(without).root.text
    assert "100 gCO2e measured" in page_of(with_grid).root.text


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
    assert "No network has been trained to the end" in page.root.one("p", class_="headline").text
    assert page.figures == {}
    assert page.root.all(class_="plot") == []
    if outcome == "failed":
        assert [row["Outcome"].text for row in page.table(TRIALS)] == ["failed: dead network"] * 3


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
