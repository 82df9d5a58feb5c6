from __future__ import annotations

import re

import pytest
from report_studies import Page, StudyMaker

from greennas.report import html


def headline(made: StudyMaker) -> str:
    return text(Page(html(made.result())).root.one("p", class_="headline").text)


def caveats(made: StudyMaker) -> str:
    return text(" ".join(each.text for each in Page(html(made.result())).root.one("header").all("p", class_="caveat")))


def text(words: str) -> str:
    """Without ids, which are hashes."""
    return re.sub(r"\b[0-9a-f]{12}\b", "#", " ".join(words.split()))


def searched(*points: tuple[float, float], kinds: str | list[str] = "measured", **overrides: object) -> StudyMaker:
    made = StudyMaker(**overrides)
    for i, (accuracy, joules) in enumerate(points):
        kind = kinds if isinstance(kinds, str) else kinds[i]
        made.add(kind=kind, accuracy=accuracy, train_energy_j=joules)
    return made


def test_cheapest_within_a_point_of_the_most_accurate() -> None:
    made = searched((0.95, 1000.0), (0.948, 700.0), (0.944, 390.0), (0.9, 100.0))
    result = made.result()
    assert headline(made) == (
        "Network # uses 61% less training energy (measured) than the most accurate one, #, "
        "for 0.6 points of validation accuracy."
    )
    links = Page(html(result)).root.one("p", class_="headline").all("a")
    assert [link.text for link in links] == [result.trials[2].architecture_id, result.trials[0].architecture_id]


def test_a_small_loss_is_not_rounded_to_none() -> None:
    assert headline(searched((0.9504, 1000.0), (0.9500, 250.0))).endswith("for 0.04 points of validation accuracy.")


def test_the_knee_where_nothing_is_within_a_point() -> None:
    made = searched((0.95, 1000.0), (0.92, 300.0), (0.7, 100.0))
    assert headline(made).startswith("Network # uses 70% less training energy (measured)")
    assert headline(made).endswith("for 3.0 points of validation accuracy.")


def test_the_next_on_the_front_where_the_knee_is_the_most_accurate() -> None:
    made = searched((0.99, 110.0), (0.5, 105.0), (0.22, 60.0), (0.2, 10.0))
    result = made.result()
    assert result.knee is result.front[0]
    assert headline(made).startswith("Network # uses 5% less training energy (measured) than the most accurate one")


def test_joules_of_different_kinds_are_not_compared() -> None:
    made = searched((0.95, 1000.0), (0.945, 400.0), kinds=["measured", "modelled"])
    assert "%" not in headline(made)
    assert "different kinds (measured, modelled) and is not compared" in headline(made)
    assert "Joules of different kinds do not compare" in caveats(made)


def test_one_network() -> None:
    made = searched((0.95, 1000.0))
    assert headline(made) == (
        "One network has been trained to the end: # with validation accuracy 95.00%, "
        "training energy 1,000 J (measured)."
    )
    assert "Too few points" in caveats(made)


def test_one_network_best_in_everything() -> None:
    made = searched((0.95, 100.0), (0.9, 200.0))
    assert headline(made) == "The most accurate network, #, is also the best of the front in training energy."


def test_other_objectives_than_accuracy() -> None:
    made = StudyMaker(objectives="flops,latency_ms")
    made.add(flops=1e6, latency_ms=10.0)
    made.add(flops=1.5e6, latency_ms=4.0)
    assert headline(made) == "Network # has 60% less latency than the lowest-FLOPs one, #, for 50% more FLOPs."


@pytest.mark.parametrize("objectives", ["train_energy_j,accuracy", "latency_ms,train_energy_j,accuracy"])
def test_accuracy_and_training_energy_wherever_they_stand(objectives: str) -> None:
    made = StudyMaker(objectives=objectives)
    made.add(kind="sampled", accuracy=0.95, train_energy_j=1000.0, latency_ms=2.0)
    made.add(kind="sampled", accuracy=0.945, train_energy_j=500.0, latency_ms=1.0)
    assert headline(made).startswith("Network # uses 50% less training energy (sampled) than the most accurate one")


def test_a_difference_within_chance_is_said_to_be() -> None:
    near = searched((0.95, 1000.0), (0.945, 400.0))  # on 359 images
    far = searched((0.99, 1000.0), (0.8, 400.0))
    assert "A difference of 0.5 points on 359 validation images can be chance" in caveats(near)
    assert "chance" not in caveats(far)


def test_modelled_energy_is_explained_and_measured_energy_is_not() -> None:
    assert "Training energy is modelled" in caveats(searched((0.9, 10.0), kinds="modelled"))
    assert "modelled" not in caveats(searched((0.9, 10.0)))


def test_enough_points_need_no_warning() -> None:
    made = searched(*((0.5 + 0.04 * i, 100.0 * (i + 1)) for i in range(10)))
    assert "Too few points" not in caveats(made)


def test_test_accuracies_of_the_two() -> None:
    made = searched((0.95, 1000.0), (0.945, 400.0))
    assert "test split" not in Page(html(made.result())).root.one("header").text
    made.test_front()
    knee = text(Page(html(made.result())).root.one("p", class_="knee").text)
    assert "On the test split, which the search did not see: 93.80% against 94.30%." in knee


def test_what_is_cheaper_by_noise_alone_is_not_recommended() -> None:
    made = searched((0.99, 100.0), (0.985, 95.0), (0.983, 60.0))
    made.confirm_front((101.0, 96.0, 106.0), (97.0, 93.0, 101.0), (61.0, 58.0, 64.0), kind="measured")
    assert headline(made).startswith("Network # uses 40% less training energy (measured)")
    made = searched((0.99, 100.0), (0.97, 98.0))
    made.confirm_front((101.0, 96.0, 106.0), (97.0, 93.0, 101.0), kind="measured")
    assert headline(made) == (
        "No network of the front uses less training energy than the most accurate one, #, by more than noise."
    )
    assert "Measured again, # uses the same training energy within noise as #" in caveats(made)
    assert "less energy" not in str(Page(html(made.result())).figures["pareto"])
