"""What the strategies for cheaper inference save: text generation, and image classification with its accuracy.

    python experiments/inference/run.py [--part all|llm|images|distillation|hardware] [--quick] [--out result.json]

The strategies are those that "From Words to Watts: Benchmarking the Energy Costs of Large Language Model Inference"
(S. Samsi et al., HPEC 2023, arXiv 2310.03003) names: simpler architecture, hardware, pruning, quantization,
distillation, batching, caching. Language models have the random weights of ``configs/``: their energy can be measured,
their answers mean nothing. So what a strategy costs in accuracy is measured on networks that classify images of
Fashion-MNIST: a residual network, pruned, quantized, in other runtimes, and smaller ones taught by it or not (three
seeds each; with few labels five: ``distillation.py``). There is one machine: hardware is varied by what a process may
use of its processor (``hardware.py``).

Every table is one benchmark: its rows are metered in turns, and its ratios are of those turns. Nothing is tuned.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import distillation
import hardware
import torch
from distillation import trained
from networks import residual_network
from rich.console import Console
from torch import nn

from greennas import load_data
from greennas.cli.display_bench import show_generation, show_inference
from greennas.inference.classification import bench_classifiers
from greennas.inference.classification_report import InferenceReport
from greennas.inference.environment import environment
from greennas.inference.generation import bench_generation
from greennas.inference.generation_report import GenerationReport
from greennas.inference.targets import Target
from greennas.inference.variant import Variant
from greennas.inference.windows import Figure, WindowPlan

CONFIGS = Path(__file__).parent / "configs"
BASE = CONFIGS / "base.json"
SEEDS = (0, 1, 2)
EPOCHS = 8
Pictures = tuple[InferenceReport, InferenceReport, dict[str, list[float]]]
console = Console(width=120)


def language_models(plan: WindowPlan, quick: bool) -> dict[str, GenerationReport]:
    """The benchmarks of text generation, by what they vary."""
    prompt, output = ((16,), (8,)) if quick else ((128,), (32,))
    dtypes = ("float32", "bfloat16", "int8", "int8-weights")
    one = {"batch_sizes": (1,), "prompt_tokens": prompt, "output_tokens": output}
    cases: dict[str, tuple[Sequence[Path], dict[str, Any]]] = {
        "simpler architecture, pruning": ([BASE, *sorted(set(CONFIGS.glob("*.json")) - {BASE})], one),
        "batching": ([BASE], {**one, "batch_sizes": (1, 2, 4, 8, 16)}),
        "lower precision, quantization": ([BASE], {**one, "dtypes": dtypes, "batch_sizes": (1, 8)}),
        "caching": ([BASE], {**one, "kv_cache": (True, False), "output_tokens": (8, *(() if quick else (32,)))}),
        "shorter or longer prompts": ([BASE], {**one, "prompt_tokens": (16, 32) if quick else (32, 128, 512)}),
    }
    found = {}
    for name, (models, settings) in cases.items():
        started_s = time.perf_counter()
        found[name] = bench_generation(models, plan=plan, **settings)
        console.print(f"\nText generation: {name} ({time.perf_counter() - started_s:.0f} s)", style="bold")
        show_generation(console, found[name])
    return found


def images(plan: WindowPlan, quick: bool) -> Pictures:
    """The variants of one network; it beside its students; and the students' accuracies by seed."""
    subset = {} if quick else {"train_images": 10_000, "validation_images": 5_000}
    dataset = load_data("digits" if quick else "fashion-mnist", **subset)
    epochs = 1.0 if quick else float(EPOCHS)
    teacher = residual_network(dataset.input_shape, dataset.num_classes, blocks=2, width=16)
    trained(teacher, dataset, epochs=epochs, seed=SEEDS[0])
    target = Target("resnet", teacher.eval(), dataset.input_shape, dataset)
    sizes = (1, 64)
    runtimes = ("eager", "onnxruntime") if quick else ("eager", "compile", "onnxruntime")
    variants = bench_classifiers([target], batch_sizes=sizes, runtimes=runtimes, plan=plan)
    console.print("\nImage classification: one network's variants", style="bold")
    show_inference(console, variants)
    accuracies: dict[str, list[float]] = {"small": [], "distilled": []}
    students: dict[str, nn.Module] = {}
    for name, taught_by in (("small", None), ("distilled", teacher)):
        for seed in SEEDS:
            student = residual_network(dataset.input_shape, dataset.num_classes, blocks=1, width=8, seed=seed)
            accuracies[name].append(trained(student, dataset, taught_by, epochs=epochs, seed=seed))
            students.setdefault(name, student.eval())
    targets = [target, *(replace(target, name=name, module=module) for name, module in students.items())]
    side_by_side = bench_classifiers(
        targets,
        batch_sizes=sizes,
        runtimes=("eager", "onnxruntime"),
        precisions=("float32",),
        compressions=("none",),
        plan=plan,
    )
    console.print("\nImage classification: smaller networks, taught by the large one or not", style="bold")
    show_inference(console, side_by_side)
    for name, values in accuracies.items():
        spread = f"{statistics.mean(values):.4f}, {min(values):.4f} to {max(values):.4f} over seeds {SEEDS}"
        console.print(f"{name}: validation accuracy {spread}", highlight=False)
    return variants, side_by_side, accuracies


def processors(plan: WindowPlan, quick: bool) -> list[hardware.Row]:
    """Both kinds of work with less and more of the processor."""
    rows = hardware.measure(hardware.settings(), hardware.Work(16, 8, 8) if quick else hardware.Work(), plan)
    console.print("\nHardware: less and more of this processor", style="bold")
    print(hardware.markdown(rows))
    return rows


def lessons(quick: bool) -> distillation.Pairs:
    """Small networks with few labels of their own, alone and taught."""
    name, many, few = ("digits", 400, 100) if quick else ("fashion-mnist", 10_000, 1_000)
    sets = [load_data(name, train_images=count, validation_images=100 if quick else 5_000) for count in (many, few)]
    console.print("\nDistillation: small networks with few labels of their own", style="bold")
    found = distillation.pairs(
        distillation.SETTINGS,
        *sets,
        seeds=SEEDS[:2] if quick else range(5),
        teacher_epochs=1 if quick else EPOCHS,
        epochs=1 if quick else 40,
        tell=lambda line: console.print(line, highlight=False),
    )
    print(distillation.markdown(found))
    return found


def summary(
    text: dict[str, GenerationReport],
    pictures: Pictures | None,
    taught: distillation.Pairs,
    processor: Sequence[hardware.Row],
) -> list[tuple[str, str, str, str]]:
    """Rows of the table of strategies: strategy, what was compared, energy ratio, accuracy."""
    rows: list[tuple[str, str, str, str]] = []
    for name, report in text.items():
        first = report.rows[0].setting
        for row in report.rows[1:]:
            rows.append(
                (name, f"text: {row.setting}; against {first}", shown(row.ratio, str(row.kind)), "random weights")
            )
    for each in (row for row in processor if not row.baseline):
        compared = f"{each.work}: {each.hardware}, {each.precision}; against {processor[0].hardware}, float32"
        rows.append(("hardware", compared, shown(each.ratio, each.kind), "the same network"))
    for name, found in taught.items():
        more = 100 * statistics.mean(after - before for before, after in found)
        rows.append(("distillation", f"images, few labels, {name}", "1, the same architecture", f"{more:+.2f} points"))
    if pictures is None:
        return rows
    variants, side_by_side, accuracies = pictures
    for images_report in (variants, side_by_side):
        base = images_report.facts[0]
        for cell in images_report.rows:
            facts = images_report.facts_of(cell.variant)
            if cell.variant == base.variant or facts.accuracy is None or base.accuracy is None:
                continue
            values = accuracies.get(cell.variant.model, [facts.accuracy])
            points = f"{100 * (statistics.mean(values) - base.accuracy):+.2f} points"
            what = f"images: {cell.variant}, batch {cell.batch_size}; against {base.variant}"
            rows.append((strategy(cell.variant), what, shown(cell.ratio, str(cell.kind)), points))
    return rows


def strategy(variant: Variant) -> str:
    """The strategies that a variant of an image classifier uses."""
    used = {
        "simpler architecture": variant.model == "small",
        "distillation": variant.model == "distilled",
        "pruning": variant.compression == "pruned",
        "folded batch norm": variant.compression == "folded",
        "quantization": variant.precision == "int8",
        "lower precision": variant.precision == "bfloat16",
        "runtime": variant.runtime != "eager",
    }
    return ", ".join(name for name, does in used.items() if does)


def shown(ratio: Figure | None, kind: str) -> str:
    """A ratio with its interval and kind."""
    return "unavailable" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) {kind}"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", choices=("all", "llm", "images", "distillation", "hardware"), default="all")
    parser.add_argument("--quick", action="store_true", help="small cases and short windows, to see that it runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = WindowPlan(0.05, 2, 2, warmup_s=0.02) if arguments.quick else WindowPlan(0.5, 5, 8)
    text = language_models(plan, arguments.quick) if arguments.part in ("all", "llm") else {}
    pictures = images(plan, arguments.quick) if arguments.part in ("all", "images") else None
    processor = processors(plan, arguments.quick) if arguments.part in ("all", "hardware") else []
    taught = lessons(arguments.quick) if arguments.part in ("all", "distillation") else {}
    rows = summary(text, pictures, taught, processor)
    print("\n| strategy | compared | energy ratio (95% interval), kind | accuracy |\n| --- | --- | ---: | ---: |")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    if arguments.out is not None:
        kept = {
            "text": {name: report.to_json() for name, report in text.items()},
            "images": [report.to_json() for report in pictures[:2]] if pictures else [],
            "accuracies": pictures[2] if pictures else {},
            "distillation": taught,
            "hardware": [asdict(row) for row in processor],
            "environment": environment("cpu", ("transformers", "onnxruntime", "torchao", "torch-pruning")),
            "strategies": rows,
        }
        arguments.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
