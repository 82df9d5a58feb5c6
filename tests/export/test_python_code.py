"""Networks of people's own as code: what comes out computes the same, or is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from modules import module_from
from torch import Tensor, nn
from torch.nn import functional as F

from greennas.architecture import Architecture
from greennas.errors import ExportError
from greennas.export import ModelDescription, save_pretrained
from greennas.export.python import python_code

ABOUT = ModelDescription(
    Architecture("own.py", {}, "{}"), (3, 8, 8), ("a", 'quoted "b"'), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), "own"
)


class Scaled(nn.Module):
    """Parameters and buffers of its own, \\ and '''quotes'''."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))
        self.register_buffer("offset", torch.rand(channels, 1, 1))
        self.register_buffer("sign", torch.tensor([1.0, -1.0]), persistent=False)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.steps):
            x = F.gelu(x * self.scale - self.offset, approximate="tanh")
        return x * self.sign[0] + torch.tensor([0.5])  # type: ignore[index]


class Branches(nn.Module):
    def __init__(self, channels: int, keep: int) -> None:
        super().__init__()
        self.paths = nn.ModuleDict(
            {"1": nn.Conv2d(channels, channels, 1), "deep": nn.Conv2d(channels, channels, 3, 1, 1)}
        )
        self.add_module("0", nn.Conv2d(channels, channels, (1, 3), padding=(0, 1), padding_mode="circular"))
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        shared = torch.relu(self.paths["1"](x))
        straight = getattr(self, "0")(shared) + self.paths["deep"](shared)
        kept = straight[:, : self.keep]
        doubled = shared + shared
        padded = F.pad(kept, (0, 0, 0, 0, 0, x.shape[1] - self.keep))
        return (padded - doubled) * (x / 2) + torch.cat([kept, x[:, self.keep :]], dim=1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            Scaled(8, 2),
            Branches(8, 3),
            nn.Conv2d(8, 12, 3, 2, padding="valid"),
            nn.GroupNorm(4, 12),
            Scaled(12, 2),
            Scaled(12, 1),
            Branches(12, 5),
            nn.PReLU(12),
            nn.Dropout(0.3),
        )
        self.norm = nn.LayerNorm([12, 3, 3])
        self.head = nn.Linear(12, 2, bias=False)
        self.twice = self.head

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.body(images))
        pooled = F.adaptive_avg_pool2d(features, 1).flatten(1)
        return self.head(pooled).softmax(dim=-1) + self.twice(pooled).mean(dim=(0, 1), keepdim=True)


def loaded(network: nn.Module, folder: Path) -> tuple[str, nn.Module]:
    """The code of a network, and the network that it makes of the saved weights."""
    code = python_code(network, ABOUT)
    save_pretrained(network, folder, ABOUT)
    (folder / "model.py").write_text(code)
    model = module_from(folder / "model.py")
    assert tuple(model.CLASSES) == ABOUT.class_names
    made: nn.Module = model.load()
    return code, made


def test_a_network_of_ones_own_computes_the_same_from_its_code(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Net().eval()
    code, made = loaded(network, tmp_path)
    images = torch.randn(5, 3, 8, 8)
    assert torch.equal(made(images), network(images))
    assert not [name for part in network.modules() for name in vars(part) if "constant" in name]
    assert type(made).__name__ == "Net"
    assert code.count("class Branches") == 1  # of other numbers, but the same class
    assert code.count("class Scaled") == 2  # one takes a step more
    assert "self.channels = channels" not in code  # only what forward needs is kept
    assert 'quoted \\"b\\"' in code


RELU = nn.ReLU()


@pytest.mark.parametrize(
    "network",
    [
        nn.Linear(4, 2),
        nn.Sequential(),
        nn.Sequential(nn.Flatten(), nn.Linear(192, 2)),
        nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU(inplace=True)))),
        nn.Sequential(RELU, nn.Conv2d(3, 4, 1), RELU, nn.Conv2d(4, 4, 1), RELU),
        nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, momentum=0.01, eps=1e-3), nn.ReLU6()),
    ],
    ids=["layer", "empty", "row", "nested", "shared", "layers"],
)
def test_small_networks(network: nn.Module, tmp_path: Path) -> None:
    network.eval()
    _, made = loaded(network, tmp_path)
    images = torch.randn(2, 3, 8, 4 if isinstance(network, nn.Linear) else 8)
    assert torch.equal(made(images.clone()), network(images.clone()))
    assert not made.training


class ByValue(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Foreign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fx.wrap and _foreign(x)


@torch.fx.wrap
def _foreign(x: Tensor) -> Tensor:
    return x + 1


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.rand(1000), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table.mean()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (ByValue(), "ByValue, which cannot be traced"),
        (Foreign(), "Foreign, because of the function _foreign"),
        (Table(), "a tensor of 1000 values"),
    ],
)
def test_what_has_no_readable_code_is_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(ExportError, match=reason) as caught:
        python_code(nn.Sequential(network).eval(), ABOUT)
    assert "leave out the format python" in str(caught.value)


def test_layers_that_do_not_tell_their_arguments_are_refused() -> None:
    silent = nn.Linear(8, 2)
    del silent.in_features
    with pytest.raises(ExportError, match="the layer Linear, whose argument in_features is unknown; leave out"):
        python_code(nn.Sequential(silent).eval(), ABOUT)
    with pytest.raises(ExportError, match=r"for the value .*; leave out the format python"):
        python_code(nn.Sequential(nn.LeakyReLU(np.float32(0.1))).eval(), ABOUT)
