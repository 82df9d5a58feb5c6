from __future__ import annotations

import io

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from greennas.cli.display_search import noise_sentence, show_result
from greennas.config import SearchConfig
from greennas.energy import Kind
from greennas.measurement import Confirmation
from greennas.results import CONFIRMED, METRICS, SearchResult


def confirmation(energy_j: float, half_j: float) -> dict[str, object]:
    ends = energy_j - half_j, energy_j + half_j
    return Confirmation(energy_j, *ends, 0.95, "cpu", Kind.MODELLED, windows=5, steps=4, window_s=0.2).to_json()


def result(rows: list[tuple[float, float]], again: list[tuple[float, float]]) -> SearchResult:
    """Completed trials of (accuracy, joules), whose energies (joules, half interval) were measured again."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    for accuracy, energy in rows:
        metrics = {"accuracy": accuracy, "train_energy_j": energy}
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, values=[accuracy, energy], user_attrs={METRICS: metrics})
        )
    study.set_user_attr(CONFIRMED, {str(i): confirmation(*each) for i, each in enumerate(again)})
    return SearchResult(SearchConfig(), study)


def test_the_knee_goes_by_the_energy_that_was_measured_again() -> None:
    rows = [(0.98, 3.0), (0.97, 1.1), (0.90, 1.0)]
    assert result(rows, []).knee.number == 1
    # Measured again, the second is hardly cheaper than the first.
    assert result(rows, [(1.1, 0.01), (3.0, 0.01), (1.0, 0.01)]).knee.number == 0


def test_what_is_dearer_and_no_better_when_measured_again_is_said_to_be_outdone() -> None:
    rows = [(0.98, 3.0), (0.97, 2.9)]
    outdone = result(rows, [(2.5, 0.05), (2.9, 0.05)]).outdone
    assert {number: other.number for number, other in outdone.items()} == {1: 0}
    assert result(rows, [(2.5, 0.5), (2.9, 0.5)]).outdone == {}  # the intervals overlap
    assert result(rows, [(2.9, 0.05), (2.5, 0.05)]).outdone == {}


@pytest.mark.parametrize(("direction", "said"), [("min", True), ("max", False)])
def test_the_knee_is_compared_where_less_of_the_second_objective_is_better(direction: str, said: bool) -> None:
    """Of what is maximised, "-36% less" than the most accurate one would be no praise."""
    study = optuna.create_study(directions=["maximize", f"{direction}imize"])
    up = direction == "max"
    for accuracy, other in [(0.98, 1.0 if up else 3.0), (0.97, 2.8 if up else 1.1), (0.90, 3.0 if up else 1.0)]:
        metrics = {"accuracy": accuracy, "other": other}
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, values=[accuracy, other], user_attrs={METRICS: metrics})
        )
    config = SearchConfig.model_validate({"objectives": f"accuracy:max,other:{direction}", "table": {"file": "t.csv"}})
    found = SearchResult(config, study)
    assert found.knee is not None
    assert found.knee.number == 1
    console = Console(width=200, record=True, file=io.StringIO())
    show_result(console, found)
    assert (" less other than the most accurate one" in console.export_text()) is said


def test_counts_leave_out_what_was_interrupted_and_queued_again() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"interrupted": True}))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"failure": "loss is not finite"}))
    found = SearchResult(SearchConfig(), study)
    assert found.count(TrialState.FAIL) == 1
    assert found.front == []
    assert found.knee is None
    assert found.hypervolume == 0
    assert found.summary()["trials"]["FAIL"] == 1


def test_hypervolume_is_a_share_of_the_box_below_the_reference() -> None:
    assert result([(0.9, 1.0)], []).hypervolume == pytest.approx(1.0)
    three = result([(0.98, 3.0), (0.97, 1.1), (0.90, 1.0)], [])
    assert 0 < three.hypervolume < 1


@pytest.mark.parametrize(
    ("again", "words"),
    [
        ([(1.0, 0.3), (1.2, 0.3)], "Same energy within noise"),
        ([(1.0, 0.01), (1.2, 0.01)], "No two of these intervals overlap"),
        ([(1.0, 0.3)], ""),
        ([], ""),
    ],
)
def test_noise_is_spoken_of_only_where_there_is_something_to_compare(
    again: list[tuple[float, float]], words: str
) -> None:
    sentence = noise_sentence(result([(0.98, 3.0), (0.97, 2.9)], again))
    assert sentence.startswith(words)
    assert bool(sentence) == bool(words)
