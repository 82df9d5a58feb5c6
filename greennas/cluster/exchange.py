"""Energies of several kinds of devices made comparable: what a training would have cost on one reference device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from greennas.architecture import Params
from greennas.device_profile import DeviceProfile, find_by_name
from greennas.energy import Kind
from greennas.errors import ConfigError
from greennas.measurement import Confirmation, EvaluationTask, Measurement, Probe
from greennas.profile import CostProfile
from greennas.space import InputShape, load_space
from greennas.trainer import TrainingPlan

Ratio = Callable[[str], float]
"""Of a network and a quantity of device profiles: joules of the reference device over those of another."""
_METRICS = ("train_energy_j", "inference_energy_j_per_1k")


@dataclass(frozen=True)
class Exchange:
    """Converts measurements to the joules of a reference device, by the ratio of what two device profiles predict.

    Readings, and so the bill, stay as they were metered.

    Attributes:
        reference: name of the device whose joules count.
        profiles: device profiles by name, that of the reference among them.
        input_shape: of the images.
        num_classes: number of classes.
    """

    reference: str
    profiles: Mapping[str, DeviceProfile]
    input_shape: InputShape
    num_classes: int

    @classmethod
    def between(cls, devices: Sequence[str], reference: str, input_shape: InputShape, num_classes: int) -> Exchange:
        """The exchange between ``devices`` through their saved profiles.

        Raises:
            ConfigError: a device has none.
            DeviceProfileError: a profile is damaged.
        """
        found = {name: find_by_name(name) for name in {*devices, reference}}
        profiles = {name: profile for name, profile in found.items() if profile is not None}
        if missing := sorted(found.keys() - profiles.keys()):
            raise ConfigError(
                f"Energies cannot be converted without a device profile of {missing[0]}; run 'greennas calibrate' "
                "there and bring its files into the driver's GREENNAS_HOME."
            )
        return cls(reference, profiles, input_shape, num_classes)

    def convert(self, task: EvaluationTask, outcome: Measurement, device: str) -> Measurement:
        """``outcome`` of ``task`` on ``device`` as if the reference device had done it; all are ``normalised`` then.

        Raises:
            ConfigError: the device has no profile.
        """
        if device not in self.profiles:
            raise ConfigError(f"There is no device profile of {device}; calibrate it and start the search again.")
        space = load_space(task.space_file or task.space, **task.options)

        def ratio(params: Params, plan: TrainingPlan) -> Ratio:
            cost = space.profile(params, self.input_shape, self.num_classes, plan.batch_size)
            return lambda name: self._predicted(self.reference, name, cost) / self._predicted(device, name, cost)

        if outcome.ok and task.work in ("train", "test"):
            return _metrics(outcome, ratio(task.params, task.plan))
        probes = [_probe(each, ratio(each.params, task.plan)) for each in outcome.probes]
        confirmed = zip(task.candidates, task.plans, outcome.confirmations, strict=False)
        confirmations = [_confirmation(each, ratio(params, plan)) for params, plan, each in confirmed]
        return replace(outcome, probes=tuple(probes), confirmations=tuple(confirmations))

    def _predicted(self, device: str, name: str, cost: CostProfile) -> float:
        return float(self.profiles[device].predictors[name].predict([cost]).mean_j[0])


def _metrics(outcome: Measurement, ratio: Ratio) -> Measurement:
    metrics, kinds = dict(outcome.metrics), dict(outcome.kinds)
    for name in _METRICS:
        value = metrics.get(name)
        if value is not None:
            metrics[name], kinds[name] = value * ratio(name), Kind.NORMALISED
    return replace(outcome, metrics=metrics, kinds=kinds)


def _probe(probe: Probe, ratio: Ratio) -> Probe:
    if probe.train_energy_j is None or probe.step_energy_j is None:
        return probe
    factor = ratio("train_energy_j")
    return replace(
        probe,
        kind=Kind.NORMALISED,
        step_energy_j=factor * probe.step_energy_j,
        train_energy_j=factor * probe.train_energy_j,
        evaluation_energy_j=None if probe.evaluation_energy_j is None else factor * probe.evaluation_energy_j,
    )


def _confirmation(found: Confirmation, ratio: Ratio) -> Confirmation:
    if found.train_energy_j is None or found.low_j is None or found.high_j is None:
        return found
    factor = ratio("train_energy_j")
    return replace(
        found,
        kind=Kind.NORMALISED,
        train_energy_j=factor * found.train_energy_j,
        low_j=factor * found.low_j,
        high_j=factor * found.high_j,
    )
