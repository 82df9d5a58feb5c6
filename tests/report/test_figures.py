from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from report_studies import Page, StudyMaker, page_of, whole_search

from greennas.report import html
from greennas.results import SearchResult


def figures(result: SearchResult) -> dict[str, Any]:
    return Page(html(result)).figures


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    found = [each for each in figure["data"] if each["name"].startswith(name)]
    assert len(found) == 1, [each["name"] for each in figure["data"]]
    return dict(found[0])


def points(each: dict[str, Any]) -> set[tuple[float, float]]:
    return {(float(f"{x:.4g}"), float(f"{y:.4g}")) for x, y in zip(each["x"], each["y"], strict=True)}


def place(trial: Any) -> tuple[float, float]:
    return float(f"{trial.metrics['train_energy_j']:.4g}"), float(f"{100 * trial.metrics['accuracy']:.4g}")


def test_pareto_plot_has_every_trained_network_once(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(), tmp_path)
    figure = figures(result)["pareto"]
    front, dominated = trace(figure, "On the front"), trace(figure, "Trained, dominated")
    assert points(front) == {place(trial) for trial in result.front}
    assert points(dominated) == {place(t) for t in result.completed if t not in result.front}
    assert front["name"].endswith("(modelled)")
    line = trace(figure, "Pareto front")
    assert points(line) == points(front)
    assert line["x"] == sorted(line["x"])
    assert figure["layout"]["xaxis"]["title"]["text"] == "Training energy (J, modelled)"
    assert figure["layout"]["yaxis"]["title"]["text"] == "Validation accuracy (%)"


def test_hover_says_id_metrics_kind_and_why() -> None:
    made = StudyMaker()
    made.add(kind="measured", accuracy=0.91, train_energy_j=250.0, reason="looked promising")
    (hover,) = trace(figures(made.result())["pareto"], "On the front")["hovertext"]
    assert made.result().front[0].architecture_id in hover
    assert "Validation accuracy: 91.00%" in hover
    assert "Training energy: 250 J (measured)" in hover
    assert "looked promising" in hover


def test_knee_and_most_accurate_are_marked(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(), tmp_path)
    figure = figures(result)["pareto"]
    assert result.knee is not None
    assert points(trace(figure, "knee")) == {place(result.knee)}
    assert points(trace(figure, "most accurate")) == {place(result.front[0])}
    assert len(trace(figure, "From best to recommended")["x"]) == 2


def test_screened_out_stand_where_they_were_predicted_with_their_intervals() -> None:
    made = StudyMaker()
    made.add()
    result = made.result()
    items = result.trials[0].proposal["screened"]
    figure = figures(result)["pareto"]
    each = trace(figure, "Show the 90% intervals")
    assert each["visible"] is False  # until the reader ticks the box
    assert points(each) == points(trace(figure, "Screened out"))
    for i, item in enumerate(items):
        energy, accuracy = item["predicted"]["train_energy_j"], item["predicted"]["accuracy"]
        assert each["x"][i] == pytest.approx(energy["mean"], rel=1e-4)
        assert each["x"][i] + each["error_x"]["array"][i] == pytest.approx(energy["high"], rel=1e-4)
        assert each["x"][i] - each["error_x"]["arrayminus"][i] == pytest.approx(energy["low"], rel=1e-4)
        assert each["y"][i] - each["error_y"]["arrayminus"][i] == pytest.approx(100 * accuracy["low"], rel=1e-4)
        assert item["architecture"]["id"] in trace(figure, "Screened out")["hovertext"][i]
        assert "predicted, modelled" in trace(figure, "Screened out")["hovertext"][i]
        assert "41% of the chosen" in trace(figure, "Screened out")["hovertext"][i]


def test_energies_measured_again_stand_with_their_intervals() -> None:
    made = StudyMaker()
    for accuracy, joules in ((0.99, 100.0), (0.9, 20.0)):
        made.add(accuracy=accuracy, train_energy_j=joules)
    made.confirm_front((104.0, 101.0, 108.0), None)
    again = trace(figures(made.result())["pareto"], "Energy measured again")
    assert points(again) == {(104.0, 99.0)}
    assert again["error_x"]["array"] == pytest.approx([4.0])
    assert again["error_x"]["arrayminus"] == pytest.approx([3.0])


def test_what_was_screened_out_and_trained_later_is_not_drawn_as_screened() -> None:
    made = StudyMaker()
    made.add(screened=3)
    later = made.result().trials[0].proposal["screened"][1]["architecture"]
    made.add(architecture=made.result().trials[0].architecture.from_json(later), screened=0)  # type: ignore[union-attr]
    each = trace(figures(made.result())["pareto"], "Screened out")
    assert len(each["x"]) == 2
    assert not any(later["id"] in text for text in each["hovertext"])


@pytest.mark.parametrize(("joules", "kind"), [((100.0, 900.0), "linear"), ((100.0, 1100.0), "log")])
def test_energy_axis_is_logarithmic_over_more_than_a_decade(joules: tuple[float, float], kind: str) -> None:
    made = StudyMaker()
    for accuracy, energy in zip((0.8, 0.9), joules, strict=True):
        made.add(accuracy=accuracy, train_energy_j=energy, screened=0)
    axis = figures(made.result())["pareto"]["layout"]["xaxis"]
    assert axis["type"] == kind
    low, high = axis["range"] if kind == "linear" else (10**end for end in axis["range"])
    assert low < 100 < joules[1] < high
    if kind == "log":
        assert [text for value, text in zip(axis["tickvals"], axis["ticktext"], strict=True) if value == 1000] == [
            "1,000"
        ]


def test_units_follow_the_size() -> None:
    made = StudyMaker()
    made.add(accuracy=0.9, train_energy_j=7.2e6, screened=0)
    figure = figures(made.result())["pareto"]
    assert figure["layout"]["xaxis"]["title"]["text"] == "Training energy (kWh, modelled)"
    assert trace(figure, "On the front")["x"] == [2.0]


def test_kinds_are_kept_apart_in_the_plot() -> None:
    made = StudyMaker()
    made.add(kind="measured", accuracy=0.9, train_energy_j=100.0)
    made.add(kind="sampled", accuracy=0.95, train_energy_j=200.0)
    page = figures(made.result())
    first, second = trace(page["pareto"], "On the front (measured)"), trace(page["pareto"], "On the front (sampled)")
    assert first["marker"]["symbol"] != second["marker"]["symbol"]
    assert not any(each["name"] == "From best to recommended" for each in page["pareto"]["data"])
    assert "hypervolume-energy" not in page  # joules of several kinds do not add up to one axis


def test_third_objective_is_the_colour() -> None:
    made = StudyMaker(objectives="accuracy,train_energy_j,latency_ms")
    for latency in (5.0, 3.0, 9.0):
        made.add(latency_ms=latency)
    figure = figures(made.result())["pareto"]
    markers = [each["marker"] for each in figure["data"] if "marker" in each]
    coloured = [marker for marker in markers if isinstance(marker["color"], list)]
    assert sorted(value for marker in coloured for value in marker["color"]) == [3.0, 5.0, 9.0]
    assert {(marker["cmin"], marker["cmax"]) for marker in coloured} == {(3.0, 9.0)}
    assert sum(marker["showscale"] for marker in coloured) == 1
    assert coloured[0]["colorbar"]["title"]["text"] == "Latency (ms)"
    assert not any(each["name"] == "Pareto front" for each in figure["data"])


def test_accuracy_goes_up_whichever_objective_is_first() -> None:
    made = StudyMaker(objectives="train_energy_j,accuracy")
    made.add()
    axes = figures(made.result())["pareto"]["layout"]
    assert axes["yaxis"]["title"]["text"].startswith("Validation accuracy")


def test_hypervolume_grows_to_the_results_own(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(), tmp_path)
    page = figures(result)
    by_trial = trace(page["hypervolume-trials"], "Hypervolume")
    assert by_trial["y"] == sorted(by_trial["y"])
    assert by_trial["y"][-1] == pytest.approx(result.hypervolume, rel=1e-4)
    assert by_trial["x"] == [float(i + 1) for i in range(24)]
    by_energy = trace(page["hypervolume-energy"], "Hypervolume")
    assert by_energy["y"] == by_trial["y"]
    spent_j = math.fsum(trial.metrics.get("train_energy_j") or 0.0 for trial in result.trials)
    assert by_energy["x"][-1] == pytest.approx(spent_j, rel=1e-4)


def test_hypervolume_after_two_networks_by_hand() -> None:
    made = StudyMaker()
    made.add(accuracy=0.5, train_energy_j=math.e)
    made.add(accuracy=1.0, train_energy_j=math.e**2)
    # Losses (-0.5, 1) and (-1, 2) with the reference (-0.45, 2.1): 0.05 * 1.1, then + 0.5 * 0.1, over 0.55 * 1.1.
    heights = trace(figures(made.result())["hypervolume-trials"], "Hypervolume")["y"]
    assert heights == pytest.approx([0.055 / 0.605, 0.105 / 0.605], rel=1e-4)


def test_predicted_against_metered_energy() -> None:
    made = StudyMaker()
    made.add(design=True)
    made.add()
    made.add(train_energy_j=1e5)  # far outside of its interval
    figure = figures(made.result())["prediction"]
    inside, outside = trace(figure, "Inside of its interval"), trace(figure, "Outside")
    assert len(inside["x"]) == 1
    assert outside["x"] == [100.0]
    predicted = made.result().trials[2].proposal["predicted"]["train_energy_j"]
    assert outside["y"][0] == pytest.approx(predicted["mean"] / 1e3, rel=1e-4)
    assert outside["error_y"]["array"][0] == pytest.approx((predicted["high"] - predicted["mean"]) / 1e3, rel=1e-3)
    assert figure["layout"]["xaxis"]["title"]["text"] == "Metered (kJ, modelled)"


def test_no_prediction_no_figure() -> None:
    made = StudyMaker()
    made.add(design=True)
    made.add(TrialState.FAIL)
    page = page_of(made)
    assert set(page.figures) == {"pareto", "hypervolume-trials", "hypervolume-energy"}
    assert "Predicted against metered energy is not drawn" in page.root.one(id="learning").text


@pytest.mark.parametrize(("cheapest", "position"), [(100.0, "bottom right"), (900.0, "middle left")])
def test_words_on_the_recommended_network_stay_off_the_axis(cheapest: float, position: str) -> None:
    made = StudyMaker()
    made.add(accuracy=0.91, train_energy_j=1500.0)
    made.add(accuracy=0.905, train_energy_j=cheapest)
    made.add(accuracy=0.60, train_energy_j=100.0 if cheapest > 100 else 1400.0)
    figure = figures(made.result())["pareto"]
    (words,) = [each for each in figure["data"] if "less energy" in "".join(each.get("text") or [])]
    assert words["textposition"] == position


@pytest.mark.parametrize(("best_j", "position"), [(1000.0, "top left"), (110.0, "top right")])
def test_words_on_the_most_accurate_network_stay_off_the_axis(best_j: float, position: str) -> None:
    made = StudyMaker()
    for accuracy, joules in ((0.99, best_j), (0.9, 100.0), (0.8, 1000.0)):
        made.add(accuracy=accuracy, train_energy_j=joules)
    data = figures(made.result())["pareto"]["data"]
    (words,) = [each for each in data if "most accurate" in "".join(each.get("text") or [])]
    assert words["textposition"] == position
