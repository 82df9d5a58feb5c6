"""The Pareto plot: trained networks, the front, its knee, and what was screened out at its predicted place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from greennas.report.headline import best, main_objectives, recommended, saving
from greennas.report.plots import SYMBOLS, Axis, Figure, by_kind, hover, layout, line, markers, paragraph, plain
from greennas.report.words import Scale, is_energy, kinds_of, known, label, noun, plural, scale, show, show_with_kind
from greennas.results import SearchResult, TrialRecord

_ROOM = 0.15  # share of the axis that words take

MOST_SCREENED = 600
"""Screened candidates that are drawn at most, the latest of them; the rest would hide them and swell the page."""

INTERVALS = "Show the 90% intervals of the predictions"
"""Name of the trace that the reader can switch on."""

Predicted = Mapping[str, Mapping[str, float]]


def pareto_figure(result: SearchResult) -> Figure | None:
    """Accuracy against energy (the first two objectives); None where nothing has been trained to the end."""
    if not result.completed:
        return None
    first, second = result.config.objectives[:2]
    # What is maximised, as accuracy is, goes up; otherwise the first objective does.
    up, across = (second, first) if (first.direction, second.direction) == ("min", "max") else (first, second)
    screened = list(screened_out(result, (across.metric, up.metric)))
    drawn = screened[-MOST_SCREENED:]
    x = _axis(result, across.metric, [predicted for _, predicted, _ in drawn])
    y = _axis(result, up.metric, [predicted for _, predicted, _ in drawn])
    plotter = _Plotter(result, x, y)
    data = plotter.screened(drawn)
    third = result.config.metrics[2] if len(result.config.metrics) > 2 else None
    if third is None:
        steps = sorted(result.front, key=lambda t: _loss(t, across.metric, across.direction))
        data.append(
            line("Pareto front", [plotter.at(t) for t in steps], {"color": "$accent", "width": 1.5, "shape": "hv"})
        )
    data += plotter.trained(third)
    data += plotter.confirmed()
    toward = f"{'top' if up.direction == 'max' else 'bottom'} {'right' if across.direction == 'max' else 'left'}"
    data += plotter.landmarks(toward)
    omitted = len(screened) - len(drawn)
    return Figure(
        name="pareto",
        title=f"{label(up.metric)} against {noun(across.metric)}",
        alt=_alt(result, up.metric, across.metric, third),
        caption=_caption(bool(drawn), omitted, third),
        data=data,
        layout=layout(x.layout(), y.layout(), height=560, shapes=plotter.ellipses),
    )


def screened_out(result: SearchResult, metrics: Iterable[str]) -> Iterable[tuple[str, Predicted, str]]:
    """Id, prediction and reason of each architecture that was screened out and never trained, the latest last."""
    trained = {trial.architecture_id for trial in result.trials}
    names = list(metrics)
    found: dict[str, tuple[str, Predicted, str]] = {}
    for trial in result.trials:
        for item in trial.proposal.get("screened", []):
            identity, predicted = str(item["architecture"]["id"]), item["predicted"]
            if identity not in trained and all(_whole(predicted.get(name)) for name in names):
                found.pop(identity, None)
                found[identity] = identity, predicted, str(item.get("reason", ""))
    return found.values()


class _Plotter:
    def __init__(self, result: SearchResult, x: Axis, y: Axis) -> None:
        self._result = result
        self._x = x
        self._y = y
        self._front = {trial.number for trial in result.front}
        self.ellipses: list[dict[str, Any]] = []
        self._names = list(dict.fromkeys([*result.config.metrics, "accuracy", "train_energy_j"]))

    def at(self, trial: TrialRecord) -> tuple[float, float]:
        """Where a trained network is drawn."""
        values = [trial.metrics[axis.metric] for axis in (self._x, self._y)]
        across, up = (0.0 if value is None else value for value in values)
        return self._x.place(across), self._y.place(up)

    def screened(self, items: list[tuple[str, Predicted, str]]) -> list[dict[str, Any]]:
        """The candidates that were screened out, with the 90% intervals of their predictions."""
        if not items:
            return []
        points = [
            (self._x.place(p[self._x.metric]["mean"]), self._y.place(p[self._y.metric]["mean"])) for _, p, _ in items
        ]
        texts = [self._screened_hover(*item) for item in items]
        bars = {
            f"error_{name}": {
                "type": "data",
                "symmetric": False,
                "array": [axis.place(p[axis.metric]["high"] - p[axis.metric]["mean"]) for _, p, _ in items],
                "arrayminus": [axis.place(p[axis.metric]["mean"] - p[axis.metric]["low"]) for _, p, _ in items],
                "color": "$whisker",
                "thickness": 1,
                "width": 0,
            }
            for name, axis in (("x", self._x), ("y", self._y))
        }
        unseen = {"color": "$faint", "size": 0.1}
        return [
            markers(INTERVALS, points, [], unseen, hoverinfo="skip", showlegend=False, visible=False, **bars),
            markers("Screened out, as predicted", points, texts, {"color": "$faint", "size": 5}),
        ]

    def trained(self, third: str | None) -> list[dict[str, Any]]:
        """The trained networks: dominated ones and the front, apart by kind of energy."""
        traces: list[dict[str, Any]] = []
        metrics = [self._x.metric, self._y.metric]
        several = len(by_kind(self._result.completed, metrics)) > 1
        dominated = [trial for trial in self._result.completed if trial.number not in self._front]
        for name, trials, on_front in (
            ("Trained, dominated", dominated, False),
            ("On the front", self._result.front, True),
        ):
            for kinds, group in by_kind(trials, metrics).items():
                marker: dict[str, Any] = {
                    "color": "$accent" if on_front else "$muted",
                    "size": 11 if on_front else 8,
                    "symbol": SYMBOLS.get(kinds, "diamond") if several else "circle",
                    "line": {"color": "$page", "width": 1},
                }
                if third is not None:
                    marker |= _coloured(self._result, third, group)
                    # One of the traces shows the scale that all share.
                    marker |= {"line": {"color": "$ink", "width": 2 if on_front else 0}, "showscale": not traces}
                title = f"{name} ({kinds})" if kinds else name
                texts = [hover(trial, self._names) for trial in group]
                numbers = [trial.number for trial in group]
                traces.append(markers(title, [self.at(trial) for trial in group], texts, marker, customdata=numbers))
        return traces

    def confirmed(self) -> list[dict[str, Any]]:
        """The front's training energies as measured again, with their intervals."""
        across = self._x.metric == "train_energy_j"
        if not across and self._y.metric != "train_energy_j":
            return []
        axis = self._x if across else self._y
        points, low, high = [], [], []
        for trial in self._result.front:
            again = trial.confirmed
            if again is None or again.train_energy_j is None or again.interval_j is None:
                continue
            place, other = axis.place(again.train_energy_j), self.at(trial)[1 if across else 0]
            points.append((place, other) if across else (other, place))
            low.append(place - axis.place(again.interval_j[0]))
            high.append(axis.place(again.interval_j[1]) - place)
        if not points:
            return []
        bars = {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "color": "$ink", "thickness": 1.5}
        marker = {"color": "$ink", "size": 9, "symbol": "line-ns-open" if across else "line-ew-open"}
        name = "Energy measured again, with interval"
        error = {"error_x" if across else "error_y": bars | {"width": 4}}
        return [markers(name, points, [], marker, hoverinfo="skip", **error)]

    def landmarks(self, toward: str) -> list[dict[str, Any]]:
        """Words and ellipses on the knee, on what accuracy alone would choose, and on the network of the headline."""
        result = self._result
        top, pick = best(result), recommended(result)
        good, _ = main_objectives(result)
        words: dict[int, list[str]] = {}
        if result.knee is not None:
            words.setdefault(result.knee.number, []).append("knee")
        if top is not None:
            words.setdefault(top.number, []).append("most accurate" if good == "accuracy" else f"best {noun(good)}")
        up, side = toward.split()
        other = "right" if side == "left" else "left"
        above = f"{up} {other if top is not None and self._near_edge(top, side) else side}"
        # Beside its point, so that it does not run into the word on the best one.
        beside = f"middle {side}"
        if pick is not None and self._near_edge(pick, side):
            beside = f"bottom {other}"
        traces = []
        less = saving(result)
        if top is not None and pick is not None and less:
            words.setdefault(pick.number, []).append(less)
            style = {"color": "$contrast", "width": 1.5, "dash": "dot"}
            traces.append(line("From best to recommended", [self.at(top), self.at(pick)], style, showlegend=False))
        for trial in result.front:
            if trial.number in words:
                colour = "$contrast" if top is not None and trial.number == top.number else "$accent"
                self.ellipses.append(self._ellipse(trial, colour))
                traces.append(
                    markers(
                        ", ".join(words[trial.number]),
                        [self.at(trial)],
                        [],
                        {"size": 24, "color": "rgba(0,0,0,0)"},  # the words keep off the ellipse
                        mode="markers+text",
                        text=[f"<b>{plain(' · '.join(words[trial.number]))}</b>"],
                        textposition=beside if pick is not None and trial.number == pick.number else above,
                        textfont={"color": colour},
                        hoverinfo="skip",
                        showlegend=False,
                        cliponaxis=False,
                    )
                )
        return traces

    def _ellipse(self, trial: TrialRecord, colour: str) -> dict[str, Any]:
        """An ellipse of one size on any screen, as EC-NAS (figure 1) marks choices: red and green."""
        x, y = self.at(trial)
        return {
            "type": "circle",
            "xsizemode": "pixel",
            "ysizemode": "pixel",
            "xanchor": x,
            "yanchor": y,
            "x0": -22,
            "x1": 22,
            "y0": -13,
            "y1": 13,
            "line": {"color": colour, "width": 2},
            "fillcolor": colour,
            "opacity": 0.3,
            "layer": "below",
        }

    def _near_edge(self, trial: TrialRecord, side: str) -> bool:
        """Whether words on that side of a trial would run into the axis."""
        places = [self.at(other)[0] for other in self._result.completed]
        at, span = self.at(trial)[0], max(places) - min(places)
        return (at - min(places) if side == "left" else max(places) - at) < _ROOM * span

    def _screened_hover(self, identity: str, predicted: Predicted, reason: str) -> str:
        lines = [f"<b>{plain(identity)}</b>, screened out: not trained"]
        for name, item in predicted.items():
            if _whole(item):
                kind = f", {self._result.screening.kind}" if is_energy(name) else ""
                spread = (
                    "" if item["low"] == item["high"] else f" ({show(name, item['low'])} to {show(name, item['high'])})"
                )
                lines.append(f"{plain(label(name))}: {show(name, item['mean'])}{spread}, predicted{plain(kind)}")
        return "<br>".join([*lines, "", paragraph(reason)])


def _axis(result: SearchResult, metric: str, predictions: list[Predicted]) -> Axis:
    values = [value for trial in result.completed if (value := trial.metrics[metric]) is not None]
    return Axis.of(
        metric, [*values, *(item[metric]["mean"] for item in predictions)], kinds_of(metric, result.completed)
    )


def _scale_of(result: SearchResult, metric: str) -> Scale:
    return scale(metric, [value for trial in result.completed if (value := trial.metrics[metric]) is not None])


def _coloured(result: SearchResult, metric: str, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """A marker's colours by a metric, on a scale over all trained networks."""
    unit = _scale_of(result, metric)
    every = [(trial.metrics[metric] or 0.0) * unit.factor for trial in result.completed]
    words = ", ".join(word for word in (unit.unit, *kinds_of(metric, result.completed)) if word)
    return {
        "color": [(trial.metrics[metric] or 0.0) * unit.factor for trial in trials],
        "cmin": min(every),
        "cmax": max(every),
        "colorscale": [[0, "$ramp-low"], [0.5, "$ramp-mid"], [1, "$ramp-high"]],
        "colorbar": {
            "title": {"text": plain(f"{label(metric)}{f' ({words})' if words else ''}"), "side": "top"},
            "orientation": "h",
            "thickness": 10,
            "len": 0.5,
            "x": 1,
            "xanchor": "right",
            "y": 1.02,
            "yanchor": "bottom",
            "outlinewidth": 0,
            "exponentformat": "SI",
        },
    }


def _loss(trial: TrialRecord, metric: str, direction: str) -> float:
    value = trial.metrics[metric] or 0.0
    return -value if direction == "max" else value


def _whole(item: Mapping[str, float] | None) -> bool:
    return item is not None and all(known(item.get(end)) for end in ("mean", "low", "high"))


def _alt(result: SearchResult, up: str, across: str, third: str | None) -> str:
    front = result.front
    shown = [f"{show_with_kind(up, trial)} at {show_with_kind(across, trial)}" for trial in front]
    ends = f", from {shown[0]} to {shown[-1]}" if shown else ""
    colour = f", coloured by {noun(third)}" if third else ""
    networks = plural(len(result.completed), "trained network")
    return (
        f"Scatter plot of {noun(up)} against {noun(across)}{colour}: {networks}, "
        f"{len(front)} of them on the Pareto front{ends}. The table below has the values."
    )


def _caption(screened: bool, omitted: int, third: str | None) -> str:
    parts = ["Each point is one training. Point at one for its id, metrics and why it was chosen."]
    if screened:
        parts.append("Faint points were never trained: they stand where they were predicted.")
    if omitted:
        parts.append(f"{omitted:,} earlier ones are left out of the picture.")
    if third:
        parts.append(f"Colour is {noun(third)}; outlined points are on the front of all three objectives.")
    return " ".join(parts)
