"""The benchmarks of inference: ``bench MODEL|DIR|RUN`` and ``bench llm``."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from greennas.cli.terminal import JsonFlag, console, emit
from greennas.cli.use import PickOption
from greennas.errors import ConfigError, bare_reason

if TYPE_CHECKING:
    from greennas.inference.windows import WindowPlan

_MODEL = "model"


class _ModelByDefault(TyperGroup):
    """``bench X`` is ``bench model X``, unless X is another command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in."""
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = [_MODEL, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ModelByDefault,
    help="Energy and latency of inference: image classifiers (bench MODEL|DIR|RUN) and text generation (bench llm).",
    no_args_is_help=True,
)


@dataclass(frozen=True)
class Metering:
    """The options that all benchmarks share: where and for how long is metered, and what becomes of the result."""

    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu"
    threads: Annotated[int, typer.Option(min=1, help="Threads on a CPU.")] = 1
    window: Annotated[float, typer.Option(help="Least seconds of a window.")] = 0.5
    repeats: Annotated[int, typer.Option(help="Windows of everything, in turns.")] = 5
    max_repeats: Annotated[int | None, typer.Option(help="Most windows. (default: twice --repeats)")] = None
    narrow: Annotated[str, typer.Option(help="Half of an interval at which no more windows are taken.")] = "5%"
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Keep the result as JSON.")] = None
    plot: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write the figure.")] = None
    as_json: JsonFlag = False

    def begin(self) -> WindowPlan:
        """The plan of the windows, after the threads are set and the files are known to be writable."""
        import torch

        from greennas.files import check_file
        from greennas.inference.windows import WindowPlan

        most = self.max_repeats if self.max_repeats is not None else 2 * self.repeats
        # 0.3 s warm caches and clocks; windows for a quick look are shorter than that.
        plan = WindowPlan(self.window, self.repeats, most, _share(self.narrow), min(0.3, self.window))
        for file in (self.out, self.plot):
            if file is not None:
                check_file(file)
        torch.set_num_threads(self.threads)
        return plan

    def end(self, result: Any, write_plot: Callable[[Any, Path], None], show: Callable[[Console, Any], None]) -> None:
        """Keep the result and its figure where that was asked for, and show it."""
        _keep(result.to_json(), self.out)
        if self.plot is not None:
            write_plot(result, self.plot)
        emit(result.to_json()) if self.as_json else show(console, result)


def _metered(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the options of ``Metering`` behind its own, in place of its last parameter."""
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.annotation)
        for name, each in inspect.signature(Metering, eval_str=True).parameters.items()
    ]
    *own, last = inspect.signature(command, eval_str=True).parameters.values()

    @functools.wraps(command)
    def run(**given: Any) -> None:
        metering = Metering(**{each.name: given.pop(each.name) for each in shared})
        command(**given, **{last.name: metering})

    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
    return run


@app.command()
@_metered
def llm(
    model: Annotated[
        list[Path],
        typer.Option(metavar="DIR|CONFIG", help="Local model folder, or a config.json for random weights; repeatable."),
    ],
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, int8, int8-weights.")] = "float32",
    kv_cache: Annotated[str, typer.Option(help="on, off or on,off.")] = "on",
    batch_size: Annotated[str, typer.Option(help="Sequences at a time.")] = "1,8",
    prompt_tokens: Annotated[str, typer.Option(help="Lengths of prompts.")] = "128",
    output_tokens: Annotated[str, typer.Option(help="Lengths of responses.")] = "32",
    *,
    metering: Metering,
) -> None:
    """Energy of text generation, prefill and decoding apart; options take several values with commas between them."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is first imported: nothing is downloaded
    from greennas.cli import display_bench, display_predict
    from greennas.inference.generation import bench_generation
    from greennas.inference.generation_plot import write_plot

    plan = metering.begin()
    with display_predict.counting("Metering in turns", quiet=metering.as_json) as report:
        result = bench_generation(
            model,
            dtypes=_words(dtype),
            kv_cache=[_switch(word) for word in _words(kv_cache)],
            batch_sizes=_counts(batch_size, "--batch-size"),
            prompt_tokens=_counts(prompt_tokens, "--prompt-tokens"),
            output_tokens=_counts(output_tokens, "--output-tokens"),
            device=metering.device,
            plan=plan,
            on_turn=lambda done, most: report(done, most, "turns"),
        )
    metering.end(result, write_plot, display_bench.show_generation)


@app.command(_MODEL)
@_metered
def model(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL|DIR|RUN", help="module:function, model folder or run; several are compared side by side."
        ),
    ],
    pick: PickOption = None,
    data: Annotated[str | None, typer.Option(help="For a function: its data set, as for search.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the data set's published files.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Height and width of the images of --data.")] = None,
    input_shape: Annotated[
        str, typer.Option(help="Shape of one image, for a function without --data: channels,height,width.")
    ] = "3,32,32",
    batch_size: Annotated[str, typer.Option(help="Images in a call.")] = "1,32",
    compression: Annotated[str, typer.Option(help="none, folded (batch norm), pruned.")] = "none,folded,pruned",
    runtime: Annotated[str, typer.Option(help="eager, compile, onnxruntime.")] = "eager,compile,onnxruntime",
    precision: Annotated[str, typer.Option(help="float32, bfloat16, int8.")] = "float32,bfloat16,int8",
    prune: Annotated[str, typer.Option(help="Share of the channels that pruning cuts.")] = "50%",
    finetune_epochs: Annotated[float, typer.Option(help="Epochs of training after pruning.")] = 2.0,
    split: Annotated[str, typer.Option(help="What accuracies are of: validation or test.")] = "validation",
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the ONNX models there.")] = None,
    *,
    metering: Metering,
) -> None:
    """Energy, latency and accuracy of networks by batch size, precision, runtime and compression, metered in turns."""
    from greennas.cli import display_bench, display_predict
    from greennas.inference.classification import bench_classifiers
    from greennas.inference.classification_plot import write_plot
    from greennas.inference.targets import find_target
    from greennas.inference.workshop import Compression
    from greennas.predict import parse_shape

    plan = metering.begin()
    if split not in ("validation", "test"):
        raise ConfigError(f"There is no split {split!r} to evaluate on; choose validation or test.")
    settings = {"name": data, "data_dir": data_dir, "resolution": resolution}
    shape = parse_shape(input_shape)
    if len(shape) != 3:
        raise ConfigError("Give the shape of an image, as in --input-shape 3,32,32.")
    targets = [
        find_target(text, pick=pick, input_shape=(shape[0], shape[1], shape[2]), data=settings) for text in networks
    ]
    with display_predict.counting("Making and metering the variants", quiet=metering.as_json) as report:
        result = bench_classifiers(
            targets,
            batch_sizes=_counts(batch_size, "--batch-size"),
            compressions=_words(compression),
            runtimes=_words(runtime),
            precisions=_words(precision),
            split="test" if split == "test" else "validation",
            compression=Compression.of(_share(prune), finetune_epochs),
            device=metering.device,
            plan=plan,
            save=save,
            on_step=report,
        )
    metering.end(result, write_plot, display_bench.show_inference)


def _share(text: str) -> float:
    try:
        return float(text.rstrip("% ")) / 100 if text.strip().endswith("%") else float(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a share; write for example 5%.") from error


def _words(text: str) -> list[str]:
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise ConfigError("An option with values between commas is empty; give one value at least.")
    return words


def _counts(text: str, option: str) -> list[int]:
    try:
        counts = [int(word) for word in _words(text)]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise ConfigError(f"{option} {text!r} are not whole numbers above 0; write for example {option} 1,8.")
    return counts


def _switch(word: str) -> bool:
    if word not in ("on", "off"):
        raise ConfigError(f"--kv-cache {word!r} is neither on nor off; write on, off or on,off.")
    return word == "on"


def _keep(data: dict[str, Any], path: Path | None) -> None:
    from greennas.files import write_text

    if path is None:
        return
    try:
        write_text(path, json.dumps(data, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {bare_reason(error)}; choose another file.") from error
