"""Results of searches as they look in a study, without a search; and a page read back."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from greennas import results as keys
from greennas.architecture import Architecture
from greennas.carbon import CostEntry, Phase
from greennas.config import SearchConfig, load_config
from greennas.energy import Kind, Reading
from greennas.measurement import Confirmation
from greennas.report import html
from greennas.results import SearchResult
from greennas.sampler.green import INTERRUPTED
from greennas.sampler.history import PROPOSAL

EDGES = ("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2")
WEIGHTS = {"none": 0.0, "skip_connect": 0.05, "avg_pool_3x3": 0.25, "nor_conv_1x1": 0.7, "nor_conv_3x3": 2.6}
FRONT = "Networks on the front"
CONFIRMED = "Training energy of the front, measured again"
TRIALS = "All trials, in the order in which they were begun"
BILL = "Energy of the search, by what it was spent on and by kind"
START = datetime(2026, 3, 1, 12)


def architecture_of(params: dict[str, Any], space: str = "nasbench201") -> Architecture:
    return Architecture(space, params, json.dumps(params, sort_keys=True))


class StudyMaker:
    """Adds trials to an in-memory study the way a search writes them."""

    def __init__(self, seed: int = 0, **overrides: Any) -> None:
        self.config: SearchConfig = load_config(overrides=overrides)
        self.study = optuna.create_study(directions=self.config.directions)
        self.study.set_user_attr(
            keys.DATA,
            {
                "name": self.config.data.name,
                "input_shape": [1, 8, 8],
                "classes": 10,
                "train": 1078,
                "validation": 359,
                "test": 360,
                "notes": ["Split at random, by class."],
            },
        )
        self.random = random.Random(seed)
        self._number = 0

    def architecture(self) -> Architecture:
        richness = self.random.random()
        weights = [1 - richness, 1.0, 0.5, 0.4 + richness, 0.05 + 3 * richness**2]
        cell = {edge: self.random.choices(list(WEIGHTS), weights)[0] for edge in EDGES}
        if cell["3<-0"] == "none":
            cell["3<-0"] = "skip_connect"
        return architecture_of(cell, self.config.space)

    def metrics(self, architecture: Architecture) -> dict[str, float | None]:
        """Made-up metrics of a made-up training: more convolutions cost more and, up to a point, do better."""
        work = 0.35 + sum(WEIGHTS.get(str(value), 1.0) for value in architecture.params.values())
        noise = self.random.gauss
        accuracy = 0.985 - 0.42 * math.exp(-0.85 * work**0.62) + noise(0, 0.006)
        return {
            "accuracy": min(round(accuracy, 4), 0.9972),
            "loss": 1.2 * (1 - accuracy),
            "train_energy_j": 61.0 * work**1.08 * math.exp(noise(0, 0.03)),
            "train_seconds": 5.0 * work,
            "inference_energy_j_per_1k": 0.9 * work,
            "latency_ms": 1.4 + 1.1 * work,
            "flops": 7.78e6 + 3.1e7 * work,
            "parameters": round(73_306 + 2.1e5 * work),
        }

    def predicted(self, metrics: dict[str, float | None], error: float = 0.12) -> dict[str, dict[str, float]]:
        found = {}
        for name in (*self.config.metrics, "train_energy_j"):
            value = metrics[name]
            assert value is not None
            if name == "accuracy":
                mean = value + self.random.gauss(0, 0.012)
                found[name] = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}
            elif name in ("flops", "parameters"):
                found[name] = {"mean": value, "low": value, "high": value}
            else:
                mean = value * math.exp(self.random.gauss(0, error))
                spread = math.exp(1.645 * error)
                found[name] = {"mean": mean, "low": mean / spread, "high": mean * spread}
        return found

    def add(
        self,
        state: TrialState = TrialState.COMPLETE,
        *,
        architecture: Architecture | None = None,
        kind: str = "modelled",
        failure: str | None = None,
        interrupted: bool = False,
        screened: int = 7,
        design: bool = False,
        reason: str | None = None,
        **metrics: float | None,
    ) -> FrozenTrial:
        architecture = architecture or self.architecture()
        measured = {**self.metrics(architecture), **metrics}
        reason = reason or "largest expected gain in hypervolume per joule"
        others = [] if design else [self.architecture() for _ in range(screened)]
        attributes: dict[str, Any] = {
            keys.ARCHITECTURE: architecture.to_json(),
            PROPOSAL: {
                "reason": "initial design, 1 of 6" if design else reason,
                "origin": "fresh",
                "predicted": {} if design else self.predicted(self.metrics(architecture)),
                "pool": 400,
                "screened": [
                    {
                        "architecture": other.to_json(),
                        "predicted": self.predicted(self.metrics(other)),
                        "reason": "promises 41% of the chosen network's gain in hypervolume per joule",
                    }
                    for other in others
                ],
            },
            keys.CHOICE_COSTS: [entry(Phase.SCREENING, 3.1, kind), entry(Phase.PROBE, 2.4, kind)],
        }
        phase = {TrialState.COMPLETE: Phase.TRAINING, TrialState.PRUNED: Phase.STOPPED_TRAINING}.get(
            state, Phase.FAILED_TRAINING
        )
        if state == TrialState.PRUNED:
            measured["train_energy_j"] = (measured["train_energy_j"] or 0.0) / 4
        if state in (TrialState.COMPLETE, TrialState.PRUNED):
            attributes |= {
                keys.METRICS: measured,
                keys.KINDS: {"train_energy_j": kind, "inference_energy_j_per_1k": kind},
                keys.EXAMPLES: 4 * 1078,
                keys.EPOCHS: 1 if state == TrialState.PRUNED else 4,
                keys.RUNGS: [{"epoch": 1.0, "accuracy": 0.5 * (measured["accuracy"] or 0.0)}],
                keys.COSTS: [entry(phase, measured["train_energy_j"], kind), entry(Phase.EVALUATION, 1.9, kind)],
            }
        elif state == TrialState.FAIL and not interrupted:
            attributes |= {
                keys.METRICS: dict.fromkeys(measured),
                keys.KINDS: {},
                keys.FAILURE: failure or "the loss is not finite after 12 steps",
                keys.COSTS: [entry(phase, 11.0, kind)],
            }
        if interrupted:
            attributes[INTERRUPTED] = True
        values = [measured[name] for name in self.config.metrics] if state == TrialState.COMPLETE else None
        if values is not None and None in values:
            values = [0.5] * len(values)
        begun = START + timedelta(seconds=30 * self._number)
        trial = FrozenTrial(
            number=self._number,
            state=state,
            value=None,
            values=values,
            datetime_start=None if state == TrialState.WAITING else begun,
            datetime_complete=None
            if state in (TrialState.WAITING, TrialState.RUNNING)
            else begun + timedelta(seconds=20),
            params={},
            distributions={},
            user_attrs=attributes,
            system_attrs={},
            intermediate_values={},
            trial_id=self._number,
        )
        self.study.add_trial(trial)
        self._number += 1
        return trial

    def test_front(self) -> None:
        """Test accuracies of the front, as after a search that ran to its end."""
        front = self.result().front
        tests = {str(t.number): {"accuracy": (t.metrics["accuracy"] or 0.0) - 0.007, "loss": 0.2} for t in front}
        self.study.set_user_attr(keys.TESTS, tests)
        self.study.set_user_attr(
            keys.DRIVER_COSTS, [entry(Phase.TEST, 4.0, "modelled"), entry(Phase.OVERHEAD, 160.0, "modelled")]
        )

    def confirm_front(self, *energies: tuple[float, float, float] | None, kind: str = "modelled") -> None:
        """Energies of the front measured again: (mean, low, high) in the front's order; None is unavailable."""
        confirmed = {
            str(trial.number): Confirmation(
                *(ends or (None, None, None)), 0.95, "cpu", Kind(kind), 5, 12, 0.2
            ).to_json()
            for trial, ends in zip(self.result().front, energies, strict=True)
        }
        self.study.set_user_attr(keys.CONFIRMED, confirmed)

    def result(self, path: Path | None = None) -> SearchResult:
        return SearchResult(self.config, self.study, path)


def entry(phase: Phase, joules: float | None, kind: str) -> dict[str, Any]:
    component = "cpu" if kind == "modelled" else "gpu"
    if joules is None or kind == "unavailable":
        reading = Reading.unavailable(component, "none", "no counter", seconds=1.0)
    else:
        low, high = (0.4 * joules, 1.9 * joules) if kind == "modelled" else (0.99 * joules, 1.01 * joules)
        reading = Reading(component, "test", Kind(kind), joules, low, high, joules / 12, None, "device", None)
    return CostEntry(phase, "local-0", reading).to_json()


def whole_search(made: StudyMaker, path: Path) -> SearchResult:
    """24 trials with their run folder: trained, stopped, failed and interrupted ones."""
    for i in range(24):
        if i in (9, 14, 15, 19):
            made.add(TrialState.PRUNED)
        elif i == 11:
            made.add(TrialState.FAIL)
        elif i == 17:
            made.add(TrialState.FAIL, interrupted=True)
        else:
            made.add(design=i < 6)
    made.test_front()
    (path / "config.yaml").write_text(made.config.to_yaml())
    (path / "environment.json").write_text(json.dumps({"python": "3.11.9", "packages": {"torch": "2.13.0"}}, indent=2))
    (path / "checkpoints").mkdir()
    for trial in made.result().front[1:]:
        (path / "checkpoints" / f"{trial.architecture_id}.safetensors").write_bytes(b"")
    return made.result(path)


VOID = {"meta", "link", "br", "img", "input", "hr"}


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Elements below this one by tag and attributes (``class_`` is one of its classes)."""
        wanted = attributes.pop("class_", None)
        found = []
        for child in self.children:
            if isinstance(child, Element):
                classes = (child.attributes.get("class") or "").split()
                fits = all(child.attributes.get(name) == value for name, value in attributes.items())
                if (not tag or child.tag == tag) and fits and (wanted is None or wanted in classes):
                    found.append(child)
                found += child.all(tag, **attributes, **({"class_": wanted} if wanted else {}))
        return found

    def one(self, tag: str = "", **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} elements {tag} {attributes}"
        return found[0]


class Page(HTMLParser):
    """A page as a tree; an element that is not closed, or closed twice, fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert len(self._open) == 1, f"not closed: {self._open[-1].tag}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    @property
    def figures(self) -> dict[str, Any]:
        """The figures by name, as the script finds them."""
        return dict(json.loads(self.root.one("script", id="figures").text))

    def table(self, caption: str) -> list[dict[str, Element]]:
        """Rows of the table with that caption, cells by heading."""
        for table in self.root.all("table"):
            if table.one("caption").text == caption:
                heads = [cell.text for cell in table.one("thead").all("th")]
                rows = table.one("tbody").all("tr")
                return [
                    dict(zip(heads, [c for c in row.children if isinstance(c, Element)], strict=True)) for row in rows
                ]
        raise AssertionError(f"no table {caption}")


def page_of(made: StudyMaker) -> Page:
    return Page(html(made.result()))
