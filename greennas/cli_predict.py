"""Commands about the cost of networks that were never trained: predict and calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from greennas.errors import ConfigError
from greennas.terminal import JsonFlag, SetOption, console, emit, space_path


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(predict)


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
        Path | None, typer.Option(metavar="FILE.json", help="A saved device profile. [default: this device's]")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Predict what training and inference of a network cost on a calibrated device."""
    from greennas import display_predict
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
        found, params = read_architecture(arch, space_path(space), _space_options(set_))
        cost = profile_architecture(found, params, shape, classes, batch_size)
    saved = find(default_device()) if device_profile is None else DeviceProfile.load(device_profile)
    result = forecast(cost, saved, images)
    emit(result.to_json()) if as_json else display_predict.show_forecast(console, result)


def _space_options(assignments: list[str] | None) -> dict[str, Any]:
    from greennas.config import parse_assignments

    options = {}
    for key, value in parse_assignments(assignments or []):
        group, _, name = key.partition(".")
        if group != "space_options" or not name:
            raise ConfigError(f"There is no setting {key!r} here; only options of the space, as space_options.width=8.")
        options[name] = value
    return options
