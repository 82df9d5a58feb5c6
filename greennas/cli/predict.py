"""Commands about the cost of networks that were never trained: predict, calibrate and table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greennas.cli import table
from greennas.cli.terminal import JsonFlag, SetOption, console, emit, space_options, space_path
from greennas.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(predict)
    app.command()(calibrate)
    app.add_typer(table.app, name="table")


def predict(
    space: Annotated[str | None, typer.Option(help="Name of a search space, or the path of a Python file.")] = None,
    arch: Annotated[Path | None, typer.Option(metavar="FILE.json", help="An architecture of a search space.")] = None,
    model: Annotated[str | None, typer.Option(metavar="MODULE:FUNCTION", help="Any torch module.")] = None,
    set_: SetOption = None,
    input_shape: Annotated[str, typer.Option(help="Shape of one example: channels,height,width.")] = "3,32,32",
    classes: Annotated[int, typer.Option(min=1, help="Classes that an architecture tells apart.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a training batch.")] = 64,
    images: Annotated[int, typer.Option(min=1, help="Examples in an epoch.")] = 50_000,
    device_profile: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="A saved device profile. (default: this device's)")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Predict what training and inference of a network cost on a calibrated device."""
    from greennas.cli import display_predict
    from greennas.device_profile import DeviceProfile, default_device, find
    from greennas.predict import forecast, load_model, parse_shape, profile_architecture, read_architecture
    from greennas.profile import profile

    if (arch is None) == (model is None):
        raise ConfigError("Give the network: --arch FILE.json or --model MODULE:FUNCTION, one of them.")
    shape = parse_shape(input_shape)
    if model is not None:
        cost = profile(load_model(model), shape, batch_size)
    else:
        assert arch is not None
        found, params = read_architecture(arch, space_path(space), space_options(set_))
        cost = profile_architecture(found, params, shape, classes, batch_size)
    saved = find(default_device()) if device_profile is None else DeviceProfile.load(device_profile)
    result = forecast(cost, saved, images)
    emit(result.to_json()) if as_json else display_predict.show_forecast(console, result)


def calibrate(
    space: Annotated[
        str | None, typer.Option(help="Name or file of a search space. (default: a mix of the built-in ones)")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data set, as for search. (default: digits)")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the data set's published files.")] = None,
    set_: SetOption = None,
    networks: Annotated[int, typer.Option(help="Networks to measure.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the choice of networks.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="The profile. (default: in the user's data folder)")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure a few networks on this machine, so that the cost of any other can be predicted."""
    from greennas.calibrate import calibrate as run
    from greennas.calibrate import default_configs
    from greennas.cli import display_predict
    from greennas.config import load_config

    if space is None and data is None and not set_:
        configs = default_configs(seed=seed)
    else:
        folder = None if data_dir is None else str(data_dir.expanduser().absolute())
        given = {"space": space_path(space), "data.name": data, "data.dir": folder, "seed": seed}
        configs = [load_config(None, set_ or [], given)]
    with display_predict.counting("Measuring networks", quiet=as_json) as report:
        result = run(configs, networks, out, on_progress=report)
    emit(result.to_json()) if as_json else display_predict.show_calibration(console, result)
