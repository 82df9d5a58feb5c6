"""The command line: thin; every command is also a function of the library."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from greennas.cli import bench, completion, predict, reproduce, spaces, use
from greennas.cli.terminal import GridOption, JsonFlag, PueOption, console
from greennas.cli.terminal import emit as _emit
from greennas.cli.terminal import space_path as _space_path
from greennas.errors import ConfigError, GreenNASError

app = typer.Typer(
    name="greennas",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder of a search.")]


def _print_version(asked: bool) -> None:
    if asked:
        from greennas import __version__

        print(f"greennas {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Begin with 'greennas search --dry-run'. docs/quickstart.md leads from a search to a model in use."
)
def greennas(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Energy-aware neural architecture search: accuracy against measured energy."""


@app.command()
def search(
    space: Annotated[
        str | None,
        typer.Option(
            help="Name of a search space, or the path of a Python file (default: nasbench201).",
            autocompletion=completion.spaces,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits, mnist, fashion-mnist, cifar10, cifar100, folder:DIR or hf:NAME. (default: digits)",
            autocompletion=completion.data,
        ),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the data set's published files.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Replay trainings from a table: CSV, Parquet, TFRecord, EC-NAS tree.")
    ] = None,
    objectives: Annotated[
        str | None, typer.Option(help="Two or three metrics. (default: accuracy,train_energy_j)")
    ] = None,
    max_energy: Annotated[str | None, typer.Option(help="Most a network's training may take, as in 2kJ.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="Least validation accuracy, 0 to 1.")] = None,
    max_latency: Annotated[float | None, typer.Option(help="Most milliseconds for one image.")] = None,
    max_parameters: Annotated[int | None, typer.Option(help="Most parameters.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trainings to begin. (default: 24)")] = None,
    energy_budget: Annotated[str | None, typer.Option(help="Stop at this energy, as in 50kJ or 0.2kWh.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="Begin no training after this time, as in 10m.")] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "--concurrency", help="Trainings side by side. (default: one a GPU or core)"),
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="local: processes of this machine; ray: Ray Tune. (default: local)")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(metavar="auto|HOST:PORT", help="Join this Ray cluster. (default: start Ray here)")
    ] = None,
    resources: Annotated[
        str | None, typer.Option(metavar="gpu=1,cpu=4", help="What a training gets on Ray. (default: a GPU, a core)")
    ] = None,
    allow_shared_gpu: Annotated[
        bool | None, typer.Option("--allow-shared-gpu", help="Let trainings share a GPU, their energy marked so.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="Database of the study, as postgresql://... (default: a file)")
    ] = None,
    confirm: Annotated[
        int | None, typer.Option(help="Windows in which the front's energy is measured again; 0: not. (default: 5)")
    ] = None,
    grid_intensity: GridOption = None,
    pue: PueOption = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="green, tpe, nsga2, nsga3, gp or random; see screen.predict. (default: green)",
            autocompletion=completion.samplers,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of proposals and trainings. (default: 0)")] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="New run folder. (default: runs/...)")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with this run folder.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="Settings by name.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in training.epochs=8.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each finished trial for TensorBoard, too.")
    ] = None,
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="Log each finished trial to MLflow, too.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what is chosen and why, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the search would cost, and stop.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Search for the networks with the best accuracy for their energy."""
    from greennas.cli import display_search as display
    from greennas.config import load_config
    from greennas.energy import parse_duration, parse_energy
    from greennas.estimate import estimate
    from greennas.run import default_path
    from greennas.search import continue_search, run_search
    from greennas.tracking import logged, open_logs, write_finished

    given: dict[str, Any] = {
        "space": _space_path(space),
        "data.name": data,
        "data.dir": None if data_dir is None else str(data_dir.expanduser().absolute()),
        "table.file": None if table is None else str(table.expanduser().absolute()),
        "objectives": objectives,
        "constraints.max_energy_j": None if max_energy is None else parse_energy(max_energy),
        "constraints.min_accuracy": min_accuracy,
        "constraints.max_latency_ms": max_latency,
        "constraints.max_parameters": max_parameters,
        "trials": trials,
        "energy_budget_j": None if energy_budget is None else parse_energy(energy_budget),
        "time_budget_s": None if time_budget is None else parse_duration(time_budget),
        "workers": workers,
        "executor": executor,
        "cluster.address": ray_address,
        "cluster.resources": resources,
        "cluster.allow_shared_gpu": allow_shared_gpu,
        "storage": storage,
        "energy.confirm": confirm,
        **_grid(grid_intensity),
        "energy.pue": pue,
        "sampler": sampler,
        "seed": seed,
    }
    if resume is not None:
        if dry_run:
            raise ConfigError("--dry-run says what a new search would cost; leave out --resume, or --dry-run.")
        logs = open_logs(tensorboard, mlflow, resume.resolve().name, goes_on=True)
        with display.progress(as_json, verbose) as report:
            hook = logged(logs, report)
            result = continue_search(
                resume, overrides=given, assignments=set_ or [], file=config, out=out, on_progress=hook
            )
    else:
        settings = load_config(config, set_ or [], given)
        if dry_run:
            forecast = estimate(settings)
            _emit(forecast.to_json()) if as_json else display.show_estimate(console, forecast)
            return
        out = out or default_path(settings)
        logs = open_logs(tensorboard, mlflow, out.resolve().name, goes_on=False)
        with display.progress(as_json, verbose) as report:
            result = run_search(settings, out, on_progress=logged(logs, report))
    write_finished(logs, result)
    _emit(result.summary()) if as_json else display.show_result(console, result)
    if result.failed:
        raise typer.Exit(1)


@app.command()
def front(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Show the Pareto front of a run, finished or not."""
    from greennas.cli import display_search as display
    from greennas.outputs import front_json

    folder, result = _open(run)
    _emit(front_json(folder, result)) if as_json else display.show_front(console, result)


@app.command()
def status(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Show how far a run is, also while it goes on."""
    from greennas.cli import display_search as display

    _, result = _open(run)
    _emit(result.summary()) if as_json else display.show_status(console, result)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several of them are compared.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where a comparison goes. (default: comparison.html)")
    ] = None,
) -> None:
    """Make the tables and the report of a run again from its study, or a page that compares several runs."""
    from greennas.outputs import write_all
    from greennas.report.comparison_page import write_comparison

    if len(runs) > 1:
        page = out or Path("comparison.html")
        write_comparison(runs, page)
        console.print(f"Comparison: {page}")
        return
    if out is not None:
        raise ConfigError("--out is for the comparison of several runs; the report of one stands in its folder.")
    folder, result = _open(runs[0])
    with folder.writing():
        write_all(folder, result)
    console.print(f"Report: {folder.report}")


@app.command()
def dashboard(
    run: RunArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of this machine; 0: any that is free.")] = 8080,
) -> None:
    """Open optuna-dashboard on a run's study, also while it goes on; on this machine alone, to look at only."""
    from greennas.dashboard import Dashboard
    from greennas.run import RunFolder

    server = Dashboard(RunFolder.open(run), port)
    console.print(f"Dashboard: {server.url} (Ctrl-C ends it)")
    with contextlib.suppress(KeyboardInterrupt):
        server.serve()


@app.command()
def cost(
    run: RunArgument,
    grid_intensity: GridOption = None,
    pue: PueOption = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables in Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a table for a paper (booktabs).")] = False,
    model_card: Annotated[
        bool, typer.Option("--model-card", help="Print co2_eq_emissions for a Hugging Face model card.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what a search itself cost: by purpose and worker, in Green AI's terms, and in gCO2e."""
    from greennas import price_tag
    from greennas.carbon import priced
    from greennas.cli import display_search as display

    if markdown + latex + model_card + as_json > 1:
        raise ConfigError("Choose one of --markdown, --latex, --model-card and --json.")
    folder, result = _open(run)
    bill = priced(result.cost, grid_intensity, pue)
    if as_json:
        _emit(bill.to_json())
    elif markdown:
        print(price_tag.markdown(bill), end="")
    elif latex:
        print(price_tag.latex(bill), end="")
    elif model_card:
        on_gpu = any(entry.reading.component == "gpu" for entry in bill.entries)
        print(price_tag.model_card(bill, price_tag.hardware(folder.devices(), on_gpu)), end="")
    else:
        display.show_bill(console, bill)
        display.show_workers(console, bill)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Say which energy counters this machine has, what they can resolve, and what is missing."""
    from greennas.cli import display_search as display
    from greennas.energy.doctor import diagnose

    findings = diagnose()
    _emit([finding.to_json() for finding in findings]) if as_json else display.show_findings(console, findings)


app.add_typer(spaces.app, name="spaces")
use.register(app)
predict.register(app)
app.add_typer(bench.app, name="bench")
app.add_typer(reproduce.app, name="reproduce")


def main() -> None:
    """Entry point of ``greennas``: errors that a user can mend end with one sentence and exit code 2."""
    try:
        app()
    except GreenNASError as error:
        Console(stderr=True, soft_wrap=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)


def _open(path: Path) -> tuple[Any, Any]:
    from greennas.results import SearchResult
    from greennas.run import RunFolder

    folder = RunFolder.open(path)
    return folder, SearchResult(folder.config, folder.read_study(), folder.path)


def _grid(text: str | None) -> dict[str, Any]:
    """The settings that ``--grid-intensity`` stands for."""
    from greennas.grid import find_grid

    if text is None:
        return {}
    grid = find_grid(text)
    return {"energy.country": grid.code} if grid.code else {"energy.grid_intensity_g_per_kwh": grid.g_per_kwh}
