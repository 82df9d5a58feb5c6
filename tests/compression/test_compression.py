from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from greennas.compression import fold_batch_norm, prune_channels, quantize_exported, quantize_onnx
from greennas.errors import ConfigError
from greennas.export.formats import exported_program, write_onnx
from greennas.inference.runtimes import onnxruntime
from greennas.space import load_space


class Network(nn.Module):
    """Convolutions with batch norm, one of them used twice, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.shared = nn.Conv2d(16, 16, 1)
        self.norm = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.body(x))
        y = self.shared(x)
        return self.head((self.norm(y) + y).mean(dim=(2, 3)))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network(images: Tensor) -> nn.Module:
    """With statistics of batch norm that are not those it begins with."""
    torch.manual_seed(0)
    made = Network()
    for _ in range(3):
        made(2 * images + 1)
    return made.eval()


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


@torch.no_grad()
def test_folding_keeps_the_function_and_leaves_what_is_shared(network: nn.Module, images: Tensor) -> None:
    folded = fold_batch_norm(network)
    assert (norms(network), norms(folded)) == (3, 1)  # y is used beside its norm: that one stays
    torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-5)


class Entangled(nn.Module):
    """What a convolution gives is used in the sum of its own weights, or changed by a hook."""

    def __init__(self, hooked: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.layer, self.norm, self.hooked = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), hooked
        if hooked:
            self.layer.register_forward_hook(lambda part, args, output: output * 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.layer(self.stem(x)))
        return x if self.hooked else x + self.layer.weight.sum()


@torch.no_grad()
@pytest.mark.parametrize("hooked", [False, True])
def test_folding_leaves_convolutions_whose_weights_or_outputs_serve_otherwise(hooked: bool, images: Tensor) -> None:
    torch.manual_seed(0)
    network = Entangled(hooked)
    for norm in (network.stem[1], network.norm):
        nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    folded = fold_batch_norm(network.eval())
    assert norms(folded) == 1
    torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["nasbench101", "nasbench201", "mobilenet", "resnet"])
def test_networks_of_every_space_fold_and_prune(name: str) -> None:
    import optuna

    space = load_space(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=4))
    torch.manual_seed(0)
    network = space.build(space.sample(study.ask()), (3, 16, 16), 5).eval()
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(fold_batch_norm(network)(images), network(images), rtol=1e-3, atol=1e-4)
    before = sum(parameter.numel() for parameter in network.parameters())
    pruned = prune_channels(network, images, 5, 0.5)
    assert pruned(images).shape == (2, 5)
    assert sum(parameter.numel() for parameter in pruned.parameters()) < 0.6 * before
    assert sum(parameter.numel() for parameter in network.parameters()) == before


def test_pruning_cuts_the_channels_of_smallest_weight(network: nn.Module, images: Tensor) -> None:
    wounded = copy.deepcopy(network)
    with torch.no_grad():
        wounded.stem[0].weight[8:] *= 1e-3  # type: ignore[index,union-attr,operator]
        wounded.body[0].weight[8:] *= 1e-3  # type: ignore[index,union-attr,operator]
        wounded.body[0].weight[:, 8:] *= 1e-3  # type: ignore[index,union-attr,operator]
        wounded.shared.weight[:, 8:] *= 1e-3  # type: ignore[union-attr,index,operator]
    pruned = prune_channels(wounded, images, 4, 0.5)
    kept = pruned.get_submodule("stem.0").weight
    assert torch.equal(kept, wounded.get_submodule("stem.0").weight[:8])  # type: ignore[index]
    assert pruned.get_submodule("head").out_features == 4


def test_layers_as_wide_as_there_are_classes_are_pruned_too(images: Tensor) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 16)
    )
    pruned = prune_channels(network, images, 16, 0.5)
    assert [p.weight.shape[0] for p in pruned if hasattr(p, "weight")] == [8, 8, 16]  # type: ignore[union-attr,index]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_shares_that_cut_nothing_or_all_are_refused(share: float, network: nn.Module, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="cannot be pruned"):
        prune_channels(network, images, 4, share)


def test_a_network_with_nothing_to_cut_says_so(images: Tensor) -> None:
    with pytest.raises(ConfigError, match="cut nothing"):
        prune_channels(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), images, 4, 0.5)


class Stubborn(nn.Module):
    """Cannot be traced: what it does depends on the values."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) if x.sum() > 0 else x


def test_what_cannot_be_folded_says_why() -> None:
    with pytest.raises(ConfigError, match="cannot be traced"):
        fold_batch_norm(Stubborn())
    with pytest.raises(ConfigError, match="no batch norm"):
        fold_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


@torch.no_grad()
def test_int8_in_onnx_runtime_is_close_and_smaller(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    write_onnx(exported_program(network, (3, 8, 8)), whole)
    quantize_onnx(whole, [images[:3], images[3:]], small)
    expected = network(images)
    torch.testing.assert_close(onnxruntime(whole, "cpu").classify(images), expected, rtol=1e-4, atol=1e-5)
    found = onnxruntime(small, "cpu").classify(images)
    error = (found - expected).abs().max() / expected.abs().max()
    assert 1e-5 < error < 0.1  # it is quantized, and well
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.onnx", "whole.onnx"]
    # any batch size
    assert onnxruntime(small, "cpu").classify(images[:1]).shape == (1, 4)


@torch.no_grad()
def test_scales_come_from_the_calibration_images(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    whole = tmp_path / "whole.onnx"
    write_onnx(exported_program(network, (3, 8, 8)), whole)
    errors = []
    for name, calibration in (("fitting", images), ("tiny", images / 100)):
        quantize_onnx(whole, [calibration], tmp_path / name)
        found = onnxruntime(tmp_path / name, "cpu").classify(images)
        errors.append(float((found - network(images)).abs().max()))
    assert errors[1] > 3 * errors[0]


@torch.no_grad()
def test_int8_by_torchao_is_close_or_refused(network: nn.Module, images: Tensor) -> None:
    plain = nn.Sequential(network.stem, network.body, nn.Flatten(), nn.Linear(1024, 4)).eval()
    found = quantize_exported(exported_program(plain, (3, 8, 8)), [images])(images)
    expected = plain(images)
    assert 1e-5 < (found - expected).abs().max() / expected.abs().max() < 0.1
    with pytest.raises(ConfigError, match="used elsewhere"):  # it gave logits that were off by a quarter
        quantize_exported(exported_program(network, (3, 8, 8)), [images])


def test_missing_libraries_are_one_sentence(
    network: nn.Module, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'greennas[compress]'")):
        prune_channels(network, images, 4, 0.5)
    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e.quantize_pt2e", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'greennas[compress]'")):
        quantize_exported(exported_program(network, (3, 8, 8)), [images])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'greennas[onnx]'")):
        onnxruntime(tmp_path / "any.onnx", "cpu")


class Rigid(nn.Module):
    """Refuses images other than those that it was made for, or gives too many logits for fewer channels."""

    def __init__(self, refuses: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)
        self.refuses = refuses

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.refuses and x.shape[1] < 16:
            raise RuntimeError("16 channels are needed")
        return self.second(x).flatten(1)[:, :100]


def test_networks_that_cannot_be_pruned_say_why(images: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"cannot prune this network .*16 channels are needed.*; leave pruning out"):
        prune_channels(Rigid(True), images, 4, 0.5)
    with pytest.raises(ConfigError, match=r"logits of shape \(6, \d+\); leave pruning out"):
        prune_channels(Rigid(False), images, 4, 0.5)


def test_networks_that_cannot_be_quantized_say_why(images: Tensor, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_text("no model")
    with pytest.raises(ConfigError, match=r"cannot quantize this network .*; leave its int8 out"):
        quantize_onnx(tmp_path / "broken.onnx", [images], tmp_path / "small.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.onnx"]
    with pytest.raises(ConfigError, match=r"cannot load this network .*; leave it out"):
        onnxruntime(tmp_path / "broken.onnx", "cpu")
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 4)).eval()
    with pytest.raises(ConfigError, match=r"torchao cannot quantize this network .*; leave int8 with compile out"):
        quantize_exported(exported_program(plain, (3, 8, 8)), [images[:, :1]])


def test_onnx_runtime_without_a_gpu_says_so(tmp_path: Path) -> None:
    import onnxruntime as library

    if "CUDAExecutionProvider" in library.get_available_providers():
        pytest.skip("this ONNX Runtime has one")
    with pytest.raises(ConfigError, match=r"cannot run on cuda:0 .*; leave it out or run on cpu"):
        onnxruntime(tmp_path / "any.onnx", "cuda:0")
