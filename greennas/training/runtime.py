"""How the network of a training step is run: operator by operator, as CUDA graphs, or compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from greennas.training.plan import Runtime

Network = Callable[[Tensor], Tensor]

_CAPTURE_SECONDS = 0.5
"""What capturing a network is expected to take, most of it the clearing of memory before each graph."""
_LAUNCH_SECONDS = 2e-3
"""Least time a step that CUDA graphs are expected to save: some hundred launches of kernels, microseconds each."""
_COMPILE_SECONDS = 60.0
"""What compiling a network is expected to take."""
_COMPILE_GAIN = 0.15
"""Least share of the time on a GPU that compiled kernels are expected to save; on a CPU they save too little."""


def quickest(device_type: str, steps: int, seconds: float | None = None) -> Runtime:
    """The runtime that a training is predicted to end soonest with; nothing is measured for it.

    Args:
        device_type: "cpu" or "cuda".
        steps: of the whole training.
        seconds: that they are predicted to take operator by operator; None, which compiles nothing, where unknown.
    """
    if device_type != "cuda":
        return "eager"
    if seconds is not None and seconds * _COMPILE_GAIN > _COMPILE_SECONDS:
        return "compile"
    return "graph" if steps * _LAUNCH_SECONDS > _CAPTURE_SECONDS else "eager"


def network_in(runtime: Runtime, module: nn.Module, images: Tensor) -> tuple[Network, Runtime]:
    """``module`` in training mode as it runs in ``runtime``, and the runtime; the module itself is left as it is.

    A network that cannot be captured or compiled (one that looks at values of tensors, say) runs operator by operator,
    with a warning.

    Args:
        runtime: CUDA graphs need a module on a GPU.
        module: (B, C, H, W) images to logits; its weights keep their places in memory from now on.
        images: a batch like all that will come, in the precision context of the steps to come.
    """
    if runtime == "eager":
        return module, runtime
    try:
        with _unchanged(module, images.device):
            return (_captured if runtime == "graph" else _compiled)(module, images), runtime
    except Exception as error:  # whatever a module does that cannot be captured has no common class
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"The network runs operator by operator, since {runtime} failed: {reason}", stacklevel=2)
        return module, "eager"


def _captured(module: nn.Module, images: Tensor) -> Network:
    """Forward and backward pass as one CUDA graph each."""
    with torch.autocast("cuda", enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
        torch.cuda.make_graphed_callables(module, (images.clone(),))
    graphed: Network = module.forward
    del module.forward  # set on the instance; evaluations and whoever gets the module find the class's again
    return graphed


def _compiled(module: nn.Module, images: Tensor) -> Network:
    """Fused kernels by torch.compile."""
    compiled: Network = torch.compile(module, dynamic=False)
    compiled(images).float().sum().backward()  # type: ignore[no-untyped-call]
    module.zero_grad(set_to_none=True)
    return compiled


@contextmanager
def _unchanged(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Undo what trial runs change: batch norm's statistics, the state of the random generators."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
