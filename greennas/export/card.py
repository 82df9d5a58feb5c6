"""The model card of an exported network: ``README.md`` with the head that Hugging Face reads.

See https://huggingface.co/docs/hub/model-cards for the head and https://huggingface.co/docs/hub/model-cards-co2 for
the emissions in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from greennas import price_tag
from greennas.carbon import SearchCost
from greennas.energy import Kind, format_energy
from greennas.export.description import EnergyFigure, ModelDescription
from greennas.export.source import Source
from greennas.export.verify import Check

_LOADING = {
    "python": """With PyTorch alone, from this folder:

```python
from model import load, preprocess
network = load()
logits = network(preprocess(images))  # images: uint8 tensor (B, {shape}), values 0..255
```
""",
    "onnx": """With ONNX Runtime alone:

```python
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
logits = session.run(None, {{"images": images}})[0]  # images: float32 array (B, {shape}), normalised as above
```
""",
    "pt2": """With PyTorch alone and none of the network's code:

```python
import torch
network = torch.export.load("model.pt2").module()
logits = network(images)  # images: float32 tensor (B, {shape}), normalised as above
```
""",
    "pytorch": """With GreenNAS:

```python
import greennas
network = greennas.from_pretrained(".")
logits = network(images)  # images: float32 tensor (B, {shape}), normalised as above
```
""",
}


def model_card(source: Source, checks: Sequence[Check]) -> str:
    """The card in Markdown.

    Args:
        source: the network and what is known about it.
        checks: the formats that were exported, as they compared.
    """
    head = yaml.safe_dump(_head(source), sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{head}---\n\n" + "\n".join(_body(source, checks))


def _head(source: Source) -> dict[str, Any]:
    about = source.description
    head: dict[str, Any] = {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "neural-architecture-search", "energy", "greennas"],
        "metrics": ["accuracy"],
    }
    if not about.dataset.startswith("folder:"):
        head["datasets"] = [about.data_title]
    if about.accuracy:
        metrics = [
            {"type": "accuracy", "name": f"{split} accuracy", "value": float(f"{value:.6g}")}
            for split, value in about.accuracy.items()
        ]
        data = {"name": about.data_title, "type": about.data_title}
        task = {"type": "image-classification", "name": "Image classification"}
        head["model-index"] = [{"name": _name(about), "results": [{"task": task, "dataset": data, "metrics": metrics}]}]
    if _has_emissions(source.bill):
        assert source.bill is not None
        head |= yaml.safe_load(price_tag.model_card(source.bill, source.hardware, source.spent_on))
    return head


def _has_emissions(bill: SearchCost | None) -> bool:
    carbon = (bill.carbon() if bill is not None else None) or {}
    return any(kind in carbon for kind in (Kind.MEASURED, Kind.SAMPLED, Kind.MODELLED))


def _body(source: Source, checks: Sequence[Check]) -> Iterator[str]:
    about = source.description
    channels, height, width = about.input_shape
    shape = f"{channels}, {height}, {width}"
    yield f"# {_name(about)}\n"
    yield (
        f"An image classifier: architecture `{about.architecture.id}` of the search space "
        f"`{_space(about)}`, found and trained on {about.data_title} by GreenNAS, a search for accurate "
        f"networks that take little energy. {_size(about)}\n"
    )
    yield "## Results\n"
    yield "| figure | value | kind |\n| --- | ---: | --- |"
    for split, value in about.accuracy.items():
        yield f"| {split} accuracy | {value:.2%} | |"
    if about.precision != "float32":
        yield f"| precision of these accuracies | {about.precision} | |"
    for name, figure in about.energy.items():
        yield f"| {_ENERGY_WORDS[name]} | {_energy(figure)} | {figure.kind} |"
    if (latency := about.metrics.get("latency_ms")) is not None:
        yield f"| latency, one image | {latency:.3g} ms | |"
    yield (
        "\nEnergies of the kind *measured* are from a hardware counter, *sampled* from power readings, *modelled* from "
        "CPU time and a band of watts, which says how networks compare rather than what a meter would show. Energies "
        "of different kinds or devices do not compare.\n"
    )
    yield "## What it took to find and train it\n"
    if source.bill is None:
        yield "The bill is not known: it stands in the run that the network is from.\n"
    else:
        yield from (f"- {sentence}" for sentence in price_tag.sentences(source.bill))
        yield f"- On {source.hardware}.\n"
    yield "## Data and preprocessing\n"
    yield (
        f"Trained on {about.data_title}, with {_training(about)} Images are (B, {shape}): bytes divided by 255, less "
        f"the mean {_numbers(about.mean)}, divided by the standard deviation {_numbers(about.std)}, per channel. The "
        f"logits are of the classes {', '.join(about.class_names[:20])}{', ...' if about.num_classes > 20 else ''} "
        "(all in `architecture.json`).\n"
    )
    yield from (f"{note[:1].upper()}{note[1:]}.\n" for note in about.notes)
    yield "## How to load it\n"
    yield from (_LOADING[form].format(shape=shape) for form in _LOADING if any(c.format == form for c in checks))
    yield "## How it was checked\n"
    yield (
        "Each file was loaded again after it was written (all but `pytorch` in a fresh process without GreenNAS) and "
        f"compared with the checkpoint on {checks[0].images:,} images of the test split:\n"
    )
    yield "| format | largest difference of a logit | same class |\n| --- | ---: | ---: |"
    yield from (f"| {check.format} | {check.difference:.2g} | {check.agreement:.2%} |" for check in checks)
    yield ""


_ENERGY_WORDS = {
    "train_energy_j": "energy of its training",
    "inference_energy_j_per_1k": "energy of 1,000 inferences",
}


def _name(about: ModelDescription) -> str:
    return f"{_space(about)}-{about.architecture.id}"


def _space(about: ModelDescription) -> str:
    return about.architecture.space.rpartition("/")[2].removesuffix(".py")


def _energy(figure: EnergyFigure) -> str:
    ends = "" if figure.low is None else f" ({format_energy(figure.low)} - {format_energy(figure.high)})"
    return format_energy(figure.value) + ends


def _size(about: ModelDescription) -> str:
    facts = []
    if (count := about.metrics.get("parameters")) is not None:
        facts.append(f"{count:,.0f} parameters")
    if (flops := about.metrics.get("flops")) is not None:
        facts.append(f"{flops:,.0f} FLOPs an image")
    return f"It has {' and '.join(facts)}." if facts else ""


def _training(about: ModelDescription) -> str:
    plan = about.training
    if not plan:
        return "settings that are not known."
    extras = [
        f"label smoothing {plan['label_smoothing']:g}" if plan["label_smoothing"] else "",
        "a moving average of the weights" if plan["ema"] else "",
        "random crops and flips" if plan["augment"] else "",
    ]
    words = ", ".join(each for each in extras if each)
    optimizer = "Muon" if plan.get("optimizer") == "muon" else "SGD"
    return (
        f"{optimizer} over {plan['epochs']:g} epochs in batches of {plan['batch_size']} at a learning rate of "
        f"{plan['learning_rate']:g}{', ' + words if words else ''}, seed {plan['seed']}."
    )


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
