"""Networks of people's own as code: what comes out computes the same, or is refused with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from modules import module_from
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

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


class Computed(nn.Module):
    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x**2 - (-x) ** 3 + (-2) ** x.round() + x.abs() ** -((x**2) ** 0.5),
        lambda x: 2 ** (x**2) + (2**x) ** 2 - -(x**2) + -(x + 1) * +x,
        lambda x: x % 2 - (x * (x % 3)) % 2 + 5 % (x.abs() + 1),
        lambda x: x * (x > 0) + (x < 1) * ((x >= 0) == (x <= 0.5)) - ((x != x) * 1),
        lambda x: ((x > 0) & ~((x > 1) | (x < -1)) ^ (x < 0.5)) * x,
        lambda x: ((x * 9).int() << 2 >> 1) * 0.5,
        lambda x: torch.clamp(x, 0, float("inf")) + x.nan_to_num(float("nan"), float("inf"), -float("inf")),
        lambda x: torch.linalg.vector_norm(x, dim=1) + torch.fft.rfft2(x).abs().sum() + torch.special.expit(x).sum(),
        lambda x: x * math.sqrt(x.shape[1]),
        lambda x: x.float().contiguous(memory_format=torch.channels_last) - math.inf,
        lambda x: x + torch.tensor([float("-inf"), 1.0, float("nan")]).view(3, 1, 1),
    ],
    ids=["power", "signs", "mod", "compared", "logic", "shift", "infinite", "parts", "math", "named", "values"],
)
def test_what_pytorch_computes_is_written(compute: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    network = nn.Sequential(Computed(compute)).eval()
    _, made = loaded(network, tmp_path)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(made(images), network(images), atol=0, rtol=0, equal_nan=True)


class Divided(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) / (2 * self.channels)


def test_an_operand_that_becomes_an_expression_keeps_together(tmp_path: Path) -> None:
    network = nn.Sequential(Divided(3), nn.Conv2d(3, 4, 1), Divided(4)).eval()
    code, made = loaded(network, tmp_path)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(made(images), network(images))
    assert "/ (2 * self.channels)" in code


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        (nn.LayerNorm([8, 8]), "nn.LayerNorm((8, 8))"),
        (nn.LayerNorm([8, 8], elementwise_affine=False), "nn.LayerNorm((8, 8), elementwise_affine=False"),
        (nn.LayerNorm(8), "nn.LayerNorm(8)"),
        (nn.RMSNorm([8, 8]), "nn.RMSNorm((8, 8))"),
        (nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (8, 8))), "nn.Unflatten(2, (8, 8))"),
        (nn.Conv2d(3, 4, (3, 3), padding=(1, 1)), "nn.Conv2d(3, 4, 3, padding=1)"),
        (nn.MaxPool2d((2, 2)), "nn.MaxPool2d(2, stride=2)"),
        (nn.Upsample(scale_factor=(2, 2)), "nn.Upsample(scale_factor=2.0)"),
        (nn.Hardtanh(-1, float("inf")), 'nn.Hardtanh(max_val=float("inf"))'),
    ],
)
def test_equal_arguments_become_one_where_it_means_the_same(layer: nn.Module, code: str, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Identity(), layer).eval()
    written, made = loaded(network, tmp_path)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(made(images), network(images))
    assert code in written


class Recurrent(nn.Module):
    def __init__(self, part: nn.Module, times: int) -> None:
        super().__init__()
        self.part = part
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2)
        return self.part(*self.times * [rows])[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "network",
    [
        Recurrent(nn.GRU(64, 4, batch_first=True, bidirectional=True), 1),
        Recurrent(nn.RNN(64, 4, nonlinearity="relu"), 1),
        Recurrent(nn.MultiheadAttention(64, 2, bias=False, add_bias_kv=True, batch_first=True), 3),
    ],
    ids=["gru", "rnn", "attention"],
)
def test_layers_that_keep_their_arguments_otherwise(network: nn.Module, tmp_path: Path) -> None:
    _, made = loaded(network.eval(), tmp_path)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(made(images), network(images))


class Owner(nn.Module):
    """Tensors in every form that PyTorch has for them."""

    def __init__(self) -> None:
        super().__init__()
        self.scalar = nn.Parameter(torch.tensor(0.1))
        self.again = self.scalar
        self.fixed = nn.Parameter(torch.tensor(3), requires_grad=False)
        self.several = nn.ParameterList([torch.rand(3, 1, 1), torch.rand(())])
        self.named = nn.ParameterDict({"a": torch.rand(3, 1, 1)})
        self.register_buffer("mask", torch.tensor([0.0, float("-inf"), float("nan")]), persistent=False)
        self.plain = torch.tensor([[[1.0]], [[-2.0]], [[float("inf")]]])

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scalar + self.fixed - self.again
        x = x * self.several[0] + self.several[1] * self.named["a"]
        return x * self.plain + self.mask.view(3, 1, 1)  # type: ignore[operator]


def test_tensors_of_every_form(tmp_path: Path) -> None:
    network = nn.Sequential(Owner()).eval()
    _, made = loaded(network, tmp_path)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(made(images), network(images), atol=0, rtol=0, equal_nan=True)
    assert {name: each.requires_grad for name, each in made.named_parameters()} == {
        name: each.requires_grad for name, each in network.named_parameters()
    }


class Buffered(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("scalar", torch.tensor(1).to(dtype))
        self.register_buffer("kept", torch.tensor([0, 1, 3]).view(3, 1, 1).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.kept + self.scalar  # type: ignore[operator]


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    ],
    ids=str,
)
def test_buffers_of_every_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    network = nn.Sequential(Buffered(dtype)).eval()
    _, made = loaded(network, tmp_path)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(made(images), network(images))
    assert {name: each.dtype for name, each in made.named_buffers()} == {"0.scalar": dtype, "0.kept": dtype}


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


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.rand(100)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.plain.view(100, 1, 1)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (ByValue(), "ByValue, which cannot be traced"),
        (Foreign(), "Foreign, because of the function _foreign"),
        (Table(), "a tensor of 1000 values"),
        (Plain(), "a tensor of 100 values"),
        (parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), "for Conv2d, because of the parametrization of its weight"),
        (parametrizations.spectral_norm(nn.Linear(8, 8)), "for Linear, because of the parametrization of its weight"),
        (prune.l1_unstructured(nn.Conv2d(3, 3, 1), "weight", 2), "for Conv2d, because of its hooks"),
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
