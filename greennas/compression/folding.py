"""Batch norm folded into the convolution before it: the same function with fewer operators."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from greennas.errors import ConfigError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy of ``module`` in evaluation mode whose batch norms behind convolutions are part of these.

    The outputs are the same up to rounding. A batch norm that follows something else, or a convolution whose output is
    used elsewhere, too, that is called twice, has hooks, or whose weights are used by themselves, stays as it is.

    Raises:
        ConfigError: the network's forward pass cannot be traced (torch.fx), or holds nothing to fold.
    """
    try:
        traced = fx.symbolic_trace(copy.deepcopy(module).eval())
    except Exception as error:  # tracing runs the module's own code, which may do anything
        raise ConfigError(
            f"Batch norm cannot be folded, since the network cannot be traced ({type(error).__name__}: {error}); "
            "leave folding out."
        ) from error
    parts = dict(traced.named_modules())
    uses: dict[str, int] = {}
    for node in traced.graph.nodes:
        if node.op in ("call_module", "get_attr"):  # the forward pass may use a convolution's weights by themselves
            name = node.target if node.op == "call_module" else node.target.rpartition(".")[0]
            uses[name] = uses.get(name, 0) + 1
    folded = 0
    for node in list(traced.graph.nodes):
        if node.op != "call_module" or not isinstance(parts[node.target], _BatchNorm):
            continue
        before = node.args[0]
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        convolution, norm = parts[str(before.target)], parts[node.target]
        alone = len(before.users) == 1 and uses[str(before.target)] == 1 and uses[node.target] == 1
        hooked = any(part._forward_hooks or part._forward_pre_hooks for part in (convolution, norm))
        if type(convolution) not in _CONVOLUTIONS or not alone or hooked or norm.running_mean is None:
            continue
        with torch.no_grad():
            _replace(traced, str(before.target), fuse_conv_bn_eval(convolution, norm))
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
        folded += 1
    if not folded:
        raise ConfigError("There is no batch norm behind a convolution to fold; leave folding out.")
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced.eval()


def _replace(module: nn.Module, target: str, part: nn.Module) -> None:
    parent, _, name = target.rpartition(".")
    setattr(module.get_submodule(parent), name, part)
