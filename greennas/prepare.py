"""From settings to what a search needs: space, data, devices. Bad settings are found here, before a file is written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from greennas.cluster.connection import connect
from greennas.cluster.exchange import Exchange
from greennas.config import SearchConfig
from greennas.energy import Kind, open_meter
from greennas.errors import ConfigError, DataError, GreenNASError, SpaceError
from greennas.machine import usable_cores
from greennas.rungs import check_rungs
from greennas.sampler.candidates import ReplayTrial
from greennas.sampler.history import COST
from greennas.sampler.limits import limits
from greennas.sampler.losses import is_cost
from greennas.setup import Setup
from greennas.space import SearchSpace, load_space
from greennas.tabular import Table, read_table


def prepare(config: SearchConfig) -> Setup:
    """Load what ``config`` names and check that it fits together.

    Raises:
        GreenNASError: one sentence on the first thing that does not.
    """
    space = load_space(config.space, **config.space_options)
    on_ray = config.executor == "ray"
    if config.table is not None:
        setup = _prepare_replay(config, space)
        return _on_cluster(setup) if on_ray else setup
    devices = ("cpu",) if on_ray else _devices(config)
    cores = (config.cluster.resources or {}).get("cpu", 1.0) if on_ray else usable_cores() / len(devices)
    dataset = config.data.load(cores)
    if config.training.batch_size is not None and config.training.batch_size > len(dataset.train):
        raise DataError(
            f"The batch size {config.training.batch_size} is larger than the train split of {len(dataset.train)} "
            "images; choose a smaller training.batch_size."
        )
    setup = Setup(config, space, dataset, devices)
    _check_space(setup)
    if on_ray:
        return _on_cluster(setup)
    _check_energy(setup)
    return setup


def _on_cluster(setup: Setup) -> Setup:
    """The same search with its trainings on Ray."""
    config = setup.config
    cluster = connect(config.cluster, config.workers, config.device if config.table is None else "cpu")
    reference = config.cluster.normalise_to
    if reference is not None and setup.table is None:
        try:
            cluster.exchange = Exchange.between(cluster.kinds, reference, setup.input_shape, setup.num_classes)
        except GreenNASError:
            cluster.close()
            raise
    return replace(setup, devices=(cluster.device,) * (config.workers or cluster.slots), cluster=cluster)


def _prepare_replay(config: SearchConfig, space: SearchSpace) -> Setup:
    assert config.table is not None
    table = read_table(config.table.file, space, config.table.energy, config.table.epochs)
    config = config.model_copy(update={"space_options": dict(table.space.options)})
    _check_columns(config, table)
    return Setup(config, table.space, None, ("cpu",) * (config.workers or 1), table)


def _check_columns(config: SearchConfig, table: Table) -> None:
    """Objectives and limits need a column each, and a cost has a logarithm where it is above 0."""
    for metric in config.metrics:
        if metric not in (*table.columns, COST):
            raise ConfigError(
                f"The table {table.name} has no column {metric!r} of numbers; those are: {', '.join(table.columns)}."
            )
    if COST in config.metrics and table.energy is None:
        raise ConfigError(f"The table {table.name} has no energy column; name one with --set table.energy=COLUMN.")
    if table.energy is None and (config.energy_budget_j is not None or config.constraints.max_energy_j is not None):
        raise ConfigError(
            f"The table {table.name} has no energy column, so there is nothing to hold against a budget or limit in "
            "joules; name one with --set table.energy=COLUMN, or take --trials."
        )
    allowed = limits(**config.constraints.model_dump())
    for limit in allowed:
        if limit.metric not in (*table.columns, COST):
            raise ConfigError(
                f"The table {table.name} has no column {limit.metric!r} of numbers to hold a limit against; leave the "
                f"limit out, or rename a column. There are: {', '.join(table.columns)}."
            )
    costs = [each.metric for each in config.objectives if is_cost(each.metric, each.direction == "max")]
    # A training that is only limited in joules may have taken none.
    costs += [each.metric for each in allowed if is_cost(each.metric, each.maximize) and each.metric != COST]
    for metric in costs:
        column = (table.energy if metric == COST else None) or metric
        least = min(row[column] for group in table.rows.values() for row in group if column in row)
        if least <= 0:
            raise ConfigError(
                f"The table {table.name} has {metric} {least:g}, which by its name is a cost and has to be above 0; "
                "mend these rows, or rename the column if it is none."
            )


def _devices(config: SearchConfig) -> tuple[str, ...]:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.device == "cuda" and not gpus:
        raise ConfigError(
            "There is no GPU that PyTorch can use; take --set device=cpu or install a CUDA build of torch."
        )
    if config.device == "cpu" or not gpus:
        return ("cpu",) * (config.workers or usable_cores())
    workers = config.workers or gpus
    if workers > gpus and _needs_own_gpu(config):
        raise ConfigError(
            f"{workers} workers need {workers} GPUs and there are {gpus}: of trainings that share one, energy and "
            f"latency could not be told; take --workers {gpus}, or leave both out of objectives, limits and budget."
        )
    return tuple(f"cuda:{i % gpus}" for i in range(workers))


def _needs_own_gpu(config: SearchConfig) -> bool:
    """Whether a network's joules or milliseconds decide: of trainings that share a GPU there are upper bounds only."""
    limits = config.energy_budget_j, config.constraints.max_energy_j, config.constraints.max_latency_ms
    measured = any("energy" in metric or "latency" in metric for metric in config.metrics)
    return measured or any(limit is not None for limit in limits)


def _check_space(setup: Setup) -> None:
    """Sample, build and profile one network, so that a space that cannot work is found before anything is written."""
    try:
        params = setup.space.sample(ReplayTrial(np.random.default_rng(setup.config.seed)))
        module = setup.space.build(params, setup.input_shape, setup.num_classes)
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"build returns {type(module).__name__}, not a torch module")
        plan = setup.plan(params)
        check_rungs(plan, module, setup.images)
        setup.space.profile(params, setup.input_shape, setup.num_classes)
    except GreenNASError:
        raise
    except Exception as error:
        raise SpaceError(
            f"The search space {setup.space.name} cannot make a network for images of shape {setup.input_shape} "
            f"({type(error).__name__}: {error}); mend it, its options, or the resolution of the images."
        ) from error


def _check_energy(setup: Setup) -> None:
    meter = open_meter(setup.devices[0], exclusive=setup.exclusive, watts_per_core=setup.config.energy.watts_per_core)
    try:
        kinds = {source.component: source.kind for source in meter.describe()}
    finally:
        meter.close()
    component = "gpu" if setup.devices[0] != "cpu" else "cpu"
    if kinds.get(component, Kind.UNAVAILABLE) is not Kind.UNAVAILABLE:
        return
    wanted = [metric for metric in setup.config.metrics if "energy" in metric]
    if wanted:
        raise ConfigError(
            f"The {component}'s energy cannot be read here, so {', '.join(wanted)} cannot be an objective; "
            "see 'greennas doctor', or choose --objectives accuracy:max,latency_ms:min."
        )
    if setup.config.energy_budget_j is not None or setup.config.constraints.max_energy_j is not None:
        raise ConfigError(
            f"The {component}'s energy cannot be read here, so there is nothing to hold against a budget or limit in "
            "joules; see 'greennas doctor', or take --time-budget."
        )
