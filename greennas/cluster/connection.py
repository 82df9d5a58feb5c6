"""The connection to a Ray cluster: joined or started, what it has for trainings, and on which kinds of devices."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from greennas.cluster.engine import engine_folders
from greennas.cluster.exchange import Exchange
from greennas.cluster.settings import ClusterSettings
from greennas.energy import describe_devices
from greennas.errors import ConfigError

_RECOUNT_S = 2.0


@dataclass
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        settings: how.
        request: what one training asks for, in Ray's names.
        nodes: devices of the nodes that can run trainings, by Ray's id of the node, as ``describe_devices`` gives them.
        exchange: makes the energies of several kinds of devices comparable; None where there is one kind.
    """

    settings: ClusterSettings
    request: Mapping[str, float]
    nodes: Mapping[str, Mapping[str, Any]]
    exchange: Exchange | None = None
    _counted: tuple[float, int] = field(default=(float("-inf"), 0), repr=False)

    @property
    def device(self) -> str:
        """What a training runs on, as torch names it on its node."""
        return "cuda:0" if self.request.get("GPU") else "cpu"

    @property
    def kinds(self) -> list[str]:
        """Names of the devices that trainings may run on, sorted."""
        if self.device == "cpu":
            return sorted({node["cpu"]["model"] for node in self.nodes.values()})
        return sorted({gpu["name"] for node in self.nodes.values() for gpu in node["gpus"]})

    @property
    def alone(self) -> bool:
        """Whether a training has a node's counters to itself, by the resource ``meter`` of which a node has one."""
        return self.request.get("meter", 0.0) > 0.5

    @property
    def shared(self) -> bool:
        """Whether trainings share a GPU."""
        return 0 < self.request.get("GPU", 0.0) < 1

    @property
    def slots(self) -> int:
        """Trainings that the nodes of now have room for; at least 1, so that a cluster that grows is asked to."""
        when, count = self._counted
        if time.monotonic() - when > _RECOUNT_S:
            count = sum(_room(node["Resources"], self.request) for node in _alive())
            self._counted = (time.monotonic(), count)
        return max(count, 1)

    def is_alive(self, node_id: str) -> bool:
        """Whether a node is still part of the cluster."""
        return any(node["NodeID"] == node_id for node in _alive())

    def close(self) -> None:
        """Leave the cluster; one that was started for this search ends."""
        import ray

        ray.shutdown()


def connect(settings: ClusterSettings, workers: int | None = None, device: str = "auto") -> Cluster:
    """Join a cluster, or start Ray on this machine.

    Args:
        settings: which, and what a training needs.
        workers: trainings side by side, if it is known; such a search may wait for nodes that come later.
        device: ``cpu``, ``cuda``, or ``auto``: a GPU where the cluster has any, unless the settings say what is needed.

    Raises:
        ConfigError: Ray is missing or does not answer, no node has room for a training, or the cluster's devices are of
            several kinds.
    """
    ray = _ray(settings)
    if ray.is_initialized():
        raise ConfigError("This process is connected to Ray already; call ray.shutdown() before the search.")
    options: dict[str, Any] = {"address": settings.address}
    if settings.address is None:
        host = settings.dashboard
        options = {
            "address": "local",  # whatever RAY_ADDRESS says: a cluster is joined where one is asked for
            "resources": {"meter": 1.0},
            "include_dashboard": host is not None,
            **({} if host is None else {"dashboard_host": host}),
        }
    try:
        ray.init(
            **options,
            runtime_env={"py_modules": engine_folders()},
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = settings.address or "on this machine"
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"There is no answer from Ray {where} ({reason}); start it with 'ray start', set RAY_AUTH_MODE=token "
            "if it asks for one, or leave out --ray-address."
        ) from error
    try:
        return _look_around(settings, workers, device)
    except BaseException:
        ray.shutdown()
        raise


def _look_around(settings: ClusterSettings, workers: int | None, device: str) -> Cluster:
    gpus = device == "cuda" or (device == "auto" and any(node["Resources"].get("GPU") for node in _alive()))
    request = settings.request(gpus)
    fit = [node for node in _alive() if _room(node["Resources"], request)]
    if not fit and workers is None:
        wanted = ",".join(f"{name}={amount:g}" for name, amount in request.items())
        raise ConfigError(
            f"No node of the cluster has {wanted} for a training; change --resources, or give --concurrency to wait "
            "for nodes that are still to come."
        )
    cluster = Cluster(settings, request, _census([node["NodeID"] for node in fit]))
    if len(cluster.kinds) > 1 and settings.normalise_to is None:
        raise ConfigError(
            f"The cluster has several kinds of devices ({', '.join(cluster.kinds)}), whose joules do not compare; pin "
            "one with --set cluster.accelerator, or convert them with --set cluster.normalise_to=DEVICE."
        )
    return cluster


def _census(node_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Devices by node; this one's own need no process."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    describe = ray.remote(describe_devices)
    here = ray.get_runtime_context().get_node_id()
    others = {
        node_id: describe.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote()
        for node_id in node_ids
        if node_id != here
    }
    found = {node_id: describe_devices() for node_id in node_ids if node_id == here}
    for node_id, reference in others.items():
        with contextlib.suppress(ray.exceptions.RayError):  # it is gone again
            found[node_id] = ray.get(reference)
    return found


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _room(resources: Mapping[str, float], request: Mapping[str, float]) -> int:
    """How many requests a node can serve at once."""
    return int(min(resources.get(name, 0.0) / amount + 1e-9 for name, amount in request.items()))


def authentication(settings: ClusterSettings) -> dict[str, str]:
    """Ray's environment variables by which drivers and nodes know each other, where the user has not chosen.

    Ray listens on all of a machine's addresses: what is started here answers only to processes that know a new token.
    A cluster that is joined has a mode of its own, which a driver cannot see: in another one its workers would die.
    """
    if "RAY_AUTH_MODE" in os.environ or settings.address is not None or settings.dashboard is not None:
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _ray(settings: ClusterSettings) -> Any:
    """The optional library, with its telemetry off; it reads how to authenticate once, when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "ray" not in sys.modules:
        os.environ.update(authentication(settings))
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise ConfigError(
            f"--executor ray needs Ray Tune, which does not import ({error}); pip install 'greennas[ray]'."
        ) from error
    except Exception as error:  # a vendor's library that Ray looks into may raise anything
        raise ConfigError(
            f"Ray does not import beside other packages of this environment ({error!r}); install 'greennas[ray]' into "
            "one without the extra zeus."
        ) from error
    return ray
