"""Networks of every shipped space in every format, loaded again where there is nothing but the one library it needs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from export_networks import SMALL, checkpoint_of
from packaging.requirements import Requirement
from torch import nn

import greennas
from greennas.data import Dataset
from greennas.errors import ExportError
from greennas.export import folder as export_folder
from greennas.export.folder import FORMATS, Exported, export_model
from greennas.export.formats import exported_program, write_onnx, write_pt2
from greennas.export.python import python_code
from greennas.export.verify import compare, logits_of, verify

FILES = {"README.md", "architecture.json", "model.onnx", "model.pt2", "model.py", "model.safetensors"}


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> dict[str, tuple[nn.Module, Exported]]:
    """By space: the network, and what was exported of it."""
    base = tmp_path_factory.mktemp("export")
    found = {}
    for name, options in SMALL.items():
        network = checkpoint_of(name, base / f"{name}.safetensors", digits, **options)
        found[name] = network, export_model(base / f"{name}.safetensors", base / name)
    return found


@pytest.mark.parametrize("space", SMALL)
def test_a_network_of_every_space_is_exported_in_every_format(
    space: str, networks: dict[str, tuple[nn.Module, Exported]], digits: Dataset
) -> None:
    network, done = networks[space]
    assert {file.name for file in done.path.iterdir()} == FILES
    assert [check.format for check in done.checks] == ["pytorch", "python", "pt2", "onnx"]
    for check in done.checks:
        assert check.images == 359
        assert check.difference <= 1e-4
        assert check.agreement >= 0.999
        assert check.same
    again = greennas.from_pretrained(done.path)
    assert not again.training
    assert digits.test is not None
    assert torch.equal(logits_of(again, digits.test, digits), logits_of(network, digits.test, digits))
    about = json.loads((done.path / "architecture.json").read_text())
    assert (about["input_shape"], about["num_classes"]) == ([1, 8, 8], 10)
    assert about["architecture"]["space"] == space


@pytest.mark.parametrize("space", SMALL)
def test_the_code_is_plain_python_that_needs_pytorch_only(
    space: str, networks: dict[str, tuple[nn.Module, Exported]]
) -> None:
    code = (networks[space][1].path / "model.py").read_text()
    assert not re.search(r"\b(exec|eval\(|pickle|greennas|search_spaces|torch\.load)\b", code)
    imported = set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE))
    assert imported <= {"__future__", "json", "math", "pathlib", "torch"}
    assert max(map(len, code.splitlines())) <= 120
    names = re.findall(r"^(?:class|def) (\w+)", code, re.MULTILINE)
    assert names[-4:] == ["Network", "preprocess", "load", "read_safetensors"]
    # stages of equal blocks share a class: fewer classes than blocks
    assert len(names) <= 16


def test_blocks_that_differ_in_numbers_alone_share_one_class(
    networks: dict[str, tuple[nn.Module, Exported]],
) -> None:
    code = (networks["nasbench201"][1].path / "model.py").read_text()
    assert code.count("class Cell") == 1
    assert [int(width) for width in re.findall(r"^ +Cell\((\d+)", code, re.MULTILINE)] == [4, 8, 16]


ISOLATED = """
import sys
sys.path.insert(0, {packages!r})
for name in ("greennas", "search_spaces", "safetensors", {absent!r}):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(name + " can be imported here")
import json, os
{imports}
found = {{}}
for folder in {folders!r}:
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.modules.pop("model", None)
    blocks = []
    card = open("README.md").read()
    for block in card.split("```python\\n")[1:]:
        code = block.split("```")[0]
        if {wanted}:
            logits = None
            images = {images}
            exec(code)
            blocks.append(logits.tolist())
    found[folder] = blocks
    sys.path.remove(folder)
print(json.dumps(found))
"""


def environment(folder: Path, library: str) -> Path:
    """A folder of links to what ``library`` and its dependencies have installed, and nothing else."""
    folder.mkdir()
    waiting, seen = [library], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        for file in found.files or ():
            top = file.parts[0]
            if top != ".." and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))).absolute())
        for line in found.requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(need.name)
    return folder


def run_cards(packages: Path, library: str, folders: list[str], images: str, absent: str) -> dict[str, list[object]]:
    """What the model cards' own code for ``library`` gives where nothing else is installed: logits by folder."""
    wanted = (
        '"onnxruntime" in code' if library == "onnxruntime" else '"onnxruntime" not in code and "greennas" not in code'
    )
    code = ISOLATED.format(
        packages=str(packages),
        absent=absent,
        imports=f"import {library}",
        folders=folders,
        wanted=wanted,
        images=images,
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[object]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_where_only_pytorch_is_installed_the_cards_code_runs(
    tmp_path: Path, networks: dict[str, tuple[nn.Module, Exported]], digits: Dataset
) -> None:
    assert digits.test is not None
    sample = digits.test.first(5)
    # the second block of a card is of the exported program, which takes normalised images
    images = (
        f"torch.tensor({sample.images.tolist()}, dtype=torch.uint8) if 'preprocess' in code else "
        f"(torch.tensor({sample.images.tolist()}) / 255 - {digits.mean[0]}) / {digits.std[0]}"
    )
    folders = {space: str(done.path) for space, (_, done) in networks.items()}
    packages = environment(tmp_path / "packages", "torch")
    found = run_cards(packages, "torch", list(folders.values()), images, "numpy")
    for space, (network, _) in networks.items():
        expected = logits_of(network, sample, digits)
        assert len(found[folders[space]]) == 2  # model.py and model.pt2
        for logits in found[folders[space]]:
            torch.testing.assert_close(torch.tensor(logits), expected, atol=1e-4, rtol=0)


def test_where_only_onnx_runtime_is_installed_the_cards_code_runs(
    tmp_path: Path, networks: dict[str, tuple[nn.Module, Exported]], digits: Dataset
) -> None:
    assert digits.test is not None
    sample = digits.test.first(5)
    folders = {space: str(done.path) for space, (_, done) in networks.items()}
    packages = environment(tmp_path / "packages", "onnxruntime")
    images = (
        f"((__import__('numpy').array({sample.images.tolist()}) / 255 - {digits.mean[0]}) / {digits.std[0]})"
        ".astype('float32')"
    )
    found = run_cards(packages, "onnxruntime", list(folders.values()), images, "torch")
    for space, (network, _) in networks.items():
        expected = logits_of(network, sample, digits).numpy()
        (logits,) = found[folders[space]]
        np.testing.assert_allclose(np.array(logits), expected, atol=1e-4)


# An export that is another network.


def change_weight(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] += 1.0
    return module


def test_a_changed_weight_is_found_in_every_format(
    tmp_path: Path, networks: dict[str, tuple[nn.Module, Exported]], digits: Dataset
) -> None:
    network, done = networks["nasbench201"]
    copy = Path(shutil.copytree(done.path, tmp_path / "copy"))
    other = change_weight(greennas.from_pretrained(copy))
    greennas.save_pretrained(other, copy, done.description)
    program = exported_program(other, digits.input_shape)
    write_pt2(program, copy / "model.pt2")
    write_onnx(program, copy / "model.onnx")
    checks = compare(network, digits, copy, FORMATS)
    assert [check.format for check in checks] == list(FORMATS)
    assert not any(check.same for check in checks)
    assert len({round(check.difference, 3) for check in checks}) == 1  # each of them is the other network
    with pytest.raises(ExportError, match="The exported pytorch is not the network of the checkpoint: its logits"):
        verify(network, digits, copy, ["pytorch"])


@pytest.mark.parametrize(
    ("tampered", "message"),
    [
        (lambda code: code.replace("/ 255", "/ 25.5"), "is not the network of the checkpoint"),
        (lambda code: "import greennas\n" + code, "cannot be loaded without GreenNAS"),
    ],
    ids=["preprocessing", "imports"],
)
def test_an_export_that_is_another_network_leaves_nothing_behind(
    tampered: Callable[[str], str], message: str, tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint_of("nasbench201", tmp_path / "c.safetensors", digits, **SMALL["nasbench201"])
    monkeypatch.setattr(export_folder, "python_code", lambda *given: tampered(python_code(*given)))
    with pytest.raises(ExportError, match=message):
        export_model(tmp_path / "c.safetensors", tmp_path / "out", formats=["python"])
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_the_format_that_cannot_be_loaded_is_named(
    tmp_path: Path, networks: dict[str, tuple[nn.Module, Exported]], digits: Dataset
) -> None:
    network, done = networks["nasbench201"]
    copy = Path(shutil.copytree(done.path, tmp_path / "copy"))
    (copy / "model.py").write_text("torch.empty()")
    with pytest.raises(ExportError, match=r"^The exported python cannot be loaded .*: leave out the format python, by"):
        compare(network, digits, copy, ["python", "pt2"])


class ByValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_networks_that_cannot_be_traced_have_no_form_but_pytorchs() -> None:
    with pytest.raises(ExportError, match=r"no pt2 or onnx form \(.*\); choose other formats") as caught:
        exported_program(ByValue(), (3, 8, 8))
    assert "\n" not in str(caught.value)


def test_files_of_another_normalisation_are_not_the_same(
    networks: dict[str, tuple[nn.Module, Exported]], digits: Dataset
) -> None:
    network, done = networks["nasbench201"]
    with pytest.raises(
        ExportError, match="otherwise than the data set digits; compare it with the data set that it was"
    ):
        compare(network, replace(digits, mean=(0.25,)), done.path, ["pytorch"])
