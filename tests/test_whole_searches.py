"""Whole searches compared on real trainings, in ``experiments/whole_searches/run.py``."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from modules import module_from

FILE = Path(__file__).resolve().parents[1] / "experiments" / "whole_searches" / "run.py"


@pytest.fixture(scope="module")
def whole() -> ModuleType:
    """The study."""
    return module_from(FILE)


def search(accuracy: list[float], joules: list[float], total: float) -> dict[str, object]:
    return {"accuracy": accuracy, "train_energy_j": joules, "failed": 0, "kind": "modelled", "total_j": total}


def test_a_search_is_charged_with_all_that_it_spent(whole):
    made = search([0.5, 0.9], [1.0, math.e], total=2 * (1 + math.e))
    reference = [0.6, 2.0]
    # The first training ends at 2 J, not at 1 J, the second with the search.
    assert whole.volumes(made, reference, [1.9, 2.1, 2 * (1 + math.e)]) == pytest.approx([0, 0.2, 0.2 + 0.4 * 1])


def test_figures_are_shares_of_the_front_of_all(whole):
    cheap, dear = search([0.8], [10.0], 10.0), search([0.9], [100.0], 100.0)
    found = whole.analyse(
        {"one": {"0": cheap, "1": cheap}, "other": {"0": dear, "1": search([0.9], [100.0], 101)}}, 100
    )
    one, other = (found["samplers"][name]["hypervolume"] for name in ("one", "other"))
    assert one["25"] == one["100"] == pytest.approx([one["25"][0]] * 3)
    assert other["50"] == [0, 0, 0]
    assert other["100"][0] == pytest.approx(other["100"][2] / 2)  # one of two seeds was in time
    # Reference: error .21, 126 J, so that the corners of the front take .01, .11 of errors and ln 10, 1.1 ln 10.
    assert one["100"][0] == pytest.approx(0.01 * 1.1 / (0.01 * 1.1 + 0.1 * 0.1))
    assert whole.markdown("space", found).count("\n| one | 2 | 1.0 |") == 1


def test_only_a_search_that_was_stopped_is_not_kept(whole, monkeypatch, tmp_path):
    """One that ended by itself may have joules left, but not enough for one more training."""
    trained = SimpleNamespace(metrics={"accuracy": 0.8, "train_energy_j": 5.0}, kinds={"train_energy_j": "measured"})
    options = ["--spaces", "nasbench201", "--seeds", "1", "--joules", "40", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["run.py", *options, "--samplers", "random"])
    for total, kept in ((34.0, 0), (36.0, 1)):
        # Joules of another kind are not added.
        spent = {"measured": SimpleNamespace(energy_j=total), "modelled": SimpleNamespace(energy_j=100.0)}
        ended = SimpleNamespace(completed=[trained], trials=[trained], cost=SimpleNamespace(totals=spent.copy))
        monkeypatch.setattr(whole.greennas, "search", lambda *args, ended=ended, **kwargs: ended)
        with contextlib.nullcontext() if kept else pytest.raises(KeyboardInterrupt):
            whole.main()
        assert len(list((tmp_path / "searches").iterdir())) == kept
    assert "All joules are measured." in (tmp_path / "table.md").read_text()


def test_the_command_searches_for_real_and_goes_on(whole, monkeypatch, tmp_path, capsys):
    small = {"data.train_images": 200, "data.validation_images": 100, "energy.confirm": 0, "training.epochs": 1}
    monkeypatch.setattr(whole, "SETTINGS", small)
    options = ["--spaces", "nasbench201", "--seeds", "1", "--joules", "12", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["run.py", *options, "--samplers", "random"])
    whole.main()
    kept = {path: path.read_text() for path in (tmp_path / "searches").iterdir()}
    (made,) = map(json.loads, kept.values())
    assert made["kind"] == "modelled"
    assert len(made["accuracy"]) >= 1
    assert made["total_j"] + max(made["train_energy_j"]) >= 12
    assert sum(made["train_energy_j"]) < made["total_j"]
    monkeypatch.setattr(sys, "argv", ["run.py", *options, "--samplers", "random", "GreenNAS"])
    whole.main()
    assert len(list((tmp_path / "searches").iterdir())) == 2
    assert {path: path.read_text() for path in kept} == kept
    found = json.loads((tmp_path / "result.json").read_text())["spaces"]["nasbench201"]["samplers"]
    assert list(found) == ["GreenNAS", "random"]
    assert "| GreenNAS | 1 |" in capsys.readouterr().out
    assert "| random | 1 |" in (tmp_path / "table.md").read_text()
