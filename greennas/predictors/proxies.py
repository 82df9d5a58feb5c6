"""Zero-cost proxies: what an untrained network tells about the accuracy that it will reach."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from greennas.predictors.inputs import PredictorError

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish)
_JITTER = 1e-6  # of the kernel's diagonal, so that images which a network cannot tell apart do not make it singular


def zero_cost_proxies(module: nn.Module, images: Tensor) -> dict[str, float]:
    """NWOT and synflow of a module, higher for networks that tend to train better; the module is left as it is.

    - ``nwot``: log determinant of the kernel of the images' activation patterns, per image: how well the
      network tells images apart before it has learnt anything (Mellor et al., "Neural Architecture Search without
      Training", ICML 2021). Activation functions have to be modules.
    - ``synflow``: logarithm of the sum over parameters of what flows through them (Tanaka et al., "Pruning neural
      networks without any data by iteratively conserving synaptic flow", NeurIPS 2020; as a proxy Abdelfattah et
      al., ICLR 2021).

    Args:
        module: an untrained network, on the device of ``images``.
        images: some real images as they would be trained on, (n, C, H, W), n of 2 or more; a few dozen are usual.

    Raises:
        PredictorError: fewer than two images, or a module without activation functions.
    """
    if images.ndim != 4 or len(images) < 2:
        raise PredictorError("Give two or more images, of shape (n, channels, height, width), to compare networks on.")
    return {"nwot": _nwot(copy.deepcopy(module), images), "synflow": _synflow(copy.deepcopy(module), images[:1])}


def _nwot(module: nn.Module, images: Tensor) -> float:
    n = len(images)
    kernel = torch.zeros(n, n, dtype=torch.float64)

    def add(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        code = (inputs[0].reshape(n, -1) > 0).float()
        agreed = code @ code.T + (1 - code) @ (1 - code).T
        kernel.add_(agreed.double().cpu())

    hooks = [part.register_forward_hook(add) for part in module.modules() if isinstance(part, _ACTIVATIONS)]
    if not hooks:
        raise PredictorError(
            "NWOT needs activation functions as modules (torch.nn.ReLU and the like); this network has none of them."
        )
    with torch.no_grad():
        module.train()(images)
    scale = float(kernel.diagonal().mean())
    if scale == 0:
        return -np.inf
    _, logarithm = np.linalg.slogdet(kernel.numpy() / scale + _JITTER * np.eye(n))
    return float(logarithm + n * np.log(scale)) / n


def _synflow(module: nn.Module, image: Tensor) -> float:
    module = module.double().eval()  # sums of many layers of positive weights leave float32
    with torch.no_grad():
        for weight in module.state_dict().values():
            if weight.is_floating_point():
                weight.abs_()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):  # without data there is nothing to normalise by
            part.forward = _same  # type: ignore[method-assign]
    output = module(torch.ones_like(image, dtype=torch.float64))
    parameters = [p for p in module.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    flow = sum(float((p.detach() * g).sum()) for p, g in zip(parameters, gradients, strict=True) if g is not None)
    return float(np.log(max(flow, np.finfo(np.float64).tiny)))


def _same(input: Tensor) -> Tensor:  # the name that torch gives it
    return input
