"""The benchmarks of inference: ``bench MODEL|DIR|RUN`` and ``bench llm``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from greennas.cli.terminal import JsonFlag, console, emit
from greennas.cli.use import PickOption
from greennas.errors import ConfigError

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
ThreadsOption = Annotated[int, typer.Option(min=1, help="Threads on a CPU.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
WindowOption = Annotated[float, typer.Option(help="Least seconds of a window.")]
RepeatsOption = Annotated[int, typer.Option(help="Windows of everything, in turns.")]
MaxRepeatsOption = Annotated[int | None, typer.Option(help="Most windows. (default: twice --repeats)")]
NarrowOption = Annotated[str, typer.Option(help="Half of an interval at which no more windows are taken.")]
OutOption = Annotated[Path | None, typer.Option(metavar="FILE.json", help="Keep the result as JSON.")]
PlotOption = Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write the figure.")]


@app.command()
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
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 1,
    window: WindowOption = 0.5,
    repeats: RepeatsOption = 5,
    max_repeats: MaxRepeatsOption = None,
    narrow: NarrowOption = "5%",
    out: OutOption = None,
    plot: PlotOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Energy of text generation, prefill and decoding apart; options take several values with commas between them."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is first imported: nothing is downloaded
    import torch

    from greennas.cli import display_bench, display_predict
    from greennas.inference.generation import bench_generation
    from greennas.inference.generation_plot import write_plot

    plan = _plan(window, repeats, max_repeats, narrow)
    _check(out, plot)
    torch.set_num_threads(threads)
    with display_predict.counting("Metering in turns", quiet=as_json) as report:
        result = bench_generation(
            model,
            dtypes=_words(dtype),
            kv_cache=[_switch(word) for word in _words(kv_cache)],
            batch_sizes=_counts(batch_size, "--batch-size"),
            prompt_tokens=_counts(prompt_tokens, "--prompt-tokens"),
            output_tokens=_counts(output_tokens, "--output-tokens"),
            device=device,
            plan=plan,
            on_turn=lambda done, most: report(done, most, "turns"),
        )
    _keep(result.to_json(), out)
    if plot is not None:
        write_plot(result, plot)
    emit(result.to_json()) if as_json else display_bench.show_generation(console, result)


@app.command(_MODEL)
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
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 1,
    window: WindowOption = 0.5,
    repeats: RepeatsOption = 5,
    max_repeats: MaxRepeatsOption = None,
    narrow: NarrowOption = "5%",
    out: OutOption = None,
    plot: PlotOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Energy, latency and accuracy of networks by batch size, precision, runtime and compression, metered in turns."""
    import torch

    from greennas.cli import display_bench, display_predict
    from greennas.inference.classification import bench_classifiers
    from greennas.inference.classification_plot import write_plot
    from greennas.inference.targets import find_target
    from greennas.inference.workshop import Compression
    from greennas.predict import parse_shape

    plan = _plan(window, repeats, max_repeats, narrow)
    _check(out, plot)
    if split not in ("validation", "test"):
        raise ConfigError(f"There is no split {split!r} to evaluate on; choose validation or test.")
    torch.set_num_threads(threads)
    settings = {"name": data, "data_dir": data_dir, "resolution": resolution}
    shape = parse_shape(input_shape)
    if len(shape) != 3:
        raise ConfigError("Give the shape of an image, as in --input-shape 3,32,32.")
    targets = [
        find_target(text, pick=pick, input_shape=(shape[0], shape[1], shape[2]), data=settings) for text in networks
    ]
    with display_predict.counting("Making and metering the variants", quiet=as_json) as report:
        result = bench_classifiers(
            targets,
            batch_sizes=_counts(batch_size, "--batch-size"),
            compressions=_words(compression),
            runtimes=_words(runtime),
            precisions=_words(precision),
            split="test" if split == "test" else "validation",
            compression=Compression.of(_share(prune), finetune_epochs),
            device=device,
            plan=plan,
            save=save,
            on_step=report,
        )
    _keep(result.to_json(), out)
    if plot is not None:
        write_plot(result, plot)
    emit(result.to_json()) if as_json else display_bench.show_inference(console, result)


def _plan(window: float, repeats: int, max_repeats: int | None, narrow: str) -> Any:
    from greennas.inference.windows import WindowPlan

    most = max_repeats if max_repeats is not None else 2 * repeats
    # 0.3 s warm caches and clocks; windows for a quick look are shorter than that.
    warmup_s = min(0.3, window)
    return WindowPlan(window, repeats, most, _share(narrow), warmup_s)


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


def _check(*files: Path | None) -> None:
    from greennas.files import check_file

    for file in files:
        if file is not None:
            check_file(file)


def _keep(data: dict[str, Any], path: Path | None) -> None:
    from greennas.files import write_text

    if path is None:
        return
    try:
        write_text(path, json.dumps(data, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}; choose another file.") from error
