"""Loading search spaces: by name, by path, with options; every mistake has a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from greennas.errors import SpaceError
from greennas.profile import profile
from greennas.space import ENTRY_POINT_GROUP, available_spaces, load_space

FILE = '''"""Two sizes of a tiny network."""

from torch import nn


def sample(trial):
    return {"hidden": trial.suggest_int("hidden", 1, 8)}


def build(params, input_shape, num_classes, *, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0] * 64, params["hidden"], bias=bias),
                         nn.Linear(params["hidden"], num_classes))
'''


class Trial:
    def suggest_int(self, name: str, low: int, high: int) -> int:
        return high


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(FILE)
    return path


def test_built_in_spaces_are_found_by_name() -> None:
    names = [point.name for point in available_spaces()]
    assert {"mobilenet", "nasbench101", "nasbench201", "resnet"} <= set(names)
    assert all(load_space(name).name == name for name in ("mobilenet", "nasbench101", "nasbench201", "resnet"))


def test_a_file_with_sample_and_build_is_a_space(file: Path) -> None:
    space = load_space(str(file))
    params = space.sample(Trial())  # type: ignore[arg-type]
    network = space.build(params, (1, 8, 8), 10)
    assert isinstance(network, nn.Module)
    assert space.name == "tiny"
    assert space.summary == "Two sizes of a tiny network."
    assert space.canonical(params) == '{"hidden": 8}'
    assert space.profile(params, (1, 8, 8), 10, 4) == profile(network, (1, 8, 8), 4)
    assert space.training(params) == {}
    assert space.size is None


def test_options_are_bound_and_belong_to_the_architecture(file: Path) -> None:
    plain, same, changed = load_space(str(file)), load_space(str(file), bias=True), load_space(str(file), bias=False)
    params = {"hidden": 2}
    assert plain.default_options == {"bias": True}
    assert changed.changed_options == {"bias": False}
    assert plain.architecture(params).id == same.architecture(params).id != changed.architecture(params).id
    assert changed.profile(params, (1, 8, 8)).parameters == plain.profile(params, (1, 8, 8)).parameters - 2


def test_further_functions_of_a_space_are_its_methods() -> None:
    assert load_space("nasbench101", vertices=4).size == 91
    assert load_space("nasbench201").to_string(dict.fromkeys(["1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"], "none"))
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = load_space("nasbench201").colour


def test_unknown_name() -> None:
    with pytest.raises(SpaceError, match=r"no search space 'nasbench999'; choose one of .*nasbench101.*\.py"):
        load_space("nasbench999")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"no search space file .*none\.py; check the path"):
        load_space(str(tmp_path / "none.py"))


@pytest.mark.parametrize("function", ["sample", "build"])
def test_file_without_a_function(file: Path, function: str) -> None:
    file.write_text(FILE.replace(f"def {function}(", "def other("))
    with pytest.raises(SpaceError, match=f"has no function '{function}'; add it"):
        load_space(str(file))


def test_file_that_does_not_run(file: Path) -> None:
    file.write_text("import numpyy\n")
    with pytest.raises(SpaceError, match=r"does not run: ModuleNotFoundError.*mend it"):
        load_space(str(file))
    file.write_text("raise SystemExit(0)\n")
    with pytest.raises(SpaceError, match=r"does not run: SystemExit\(0\); mend it"):
        load_space(str(file))


@pytest.mark.parametrize(
    ("said", "words"), [("1 / 0", "fails .ZeroDivisionError"), ("'12'", "returns '12'"), ("2.5", "returns 2.5")]
)
def test_a_size_that_is_no_number(file: Path, said: str, words: str) -> None:
    file.write_text(f"{FILE}\n\ndef size():\n    return {said}\n")
    with pytest.raises(SpaceError, match=rf"size\(\) of the search space tiny {words}.*; let it return a whole number"):
        _ = load_space(str(file)).size
    file.write_text(f"{FILE}\n\ndef size():\n    return None\n")
    assert load_space(str(file)).size is None


def test_lazy_layers_know_the_shape_of_the_images(file: Path) -> None:
    file.write_text(FILE.replace("nn.Linear(input_shape[0] * 64,", "nn.LazyLinear("))
    assert load_space(str(file)).build({"hidden": 2}, (1, 8, 8), 10)[1].weight.shape == (2, 64)


def test_unknown_option(file: Path) -> None:
    with pytest.raises(SpaceError, match="has no option 'colour'; its options are: bias"):
        load_space(str(file), colour=1)


def test_an_installed_package_can_bring_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_space.py").write_text(
        "from torch import nn\n"
        "def sample(trial): return {'n': trial.suggest_int('n', 1, 4)}\n"
        "def build(params, input_shape, num_classes): return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[greennas.search_spaces]\ntheirs = their_space\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_space("theirs").canonical({"n": 2}) == '{"n": 2}'
    assert "theirs" in [point.name for point in available_spaces()]


def test_a_package_whose_space_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_space-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-space\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nbroken = broken_space\n")
    (tmp_path / "broken_space.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpaceError, match=r"'broken' .* does not load .*no_such_library.*; mend or remove its package"):
        load_space("broken")
