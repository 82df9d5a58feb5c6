"""Recipe books: built of small spaces, checked against the published cells, and asked."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_cli import greennas, rejected

from greennas.device_profile import QUANTITIES, DeviceProfile
from greennas.energy import Kind
from greennas.errors import ConfigError, DataError, GreenNASError, RunError
from greennas.recipe_build import BuildSettings, build
from greennas.recipes import RecipeBook
from greennas.space import load_space

DATA = Path(os.environ.get("GREENNAS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data" / "ec-nas"))
SMALL = BuildSettings("nasbench101", {"vertices": 4, "width": 8, "depth": 1}, (3, 8, 8), images=1000)


@pytest.fixture
def book(tmp_path: Path) -> RecipeBook:
    """A hand-made table."""
    file = tmp_path / "made.csv"
    file.write_text(
        "id,accuracy,train_energy_j,latency_ms,params\n"
        'a,0.90,100,3,"{""x"": 1, ""y"": 1}"\n'
        'b,0.92,200,2,"{""x"": 1, ""y"": 2}"\n'
        'c,0.91,300,1,"{""x"": 2, ""y"": 2}"\n'
        'd,0.93,400,4,"{""x"": 3, ""y"": 2}"\n'
        'e,,50,9,"{""x"": 4, ""y"": 1}"\n'
    )
    return RecipeBook.read(file)


def test_best_under_limits(book: RecipeBook) -> None:
    assert book.best("accuracy")["id"] == "d"
    assert book.best("accuracy", {"energy_j": 399})["id"] == "b"
    assert book.best("accuracy", {"energy_j": 399, "latency_ms": 1})["id"] == "c"
    assert [row["id"] for row in book.best("latency_ms", count=3)] == ["c", "b", "a"]
    with pytest.raises(GreenNASError, match="least there is: train_energy_j 50"):
        book.best("accuracy", {"energy_j": 1})
    with pytest.raises(GreenNASError, match="no column 'f2'"):
        book.best("f2")


def test_front_is_of_those_that_no_other_beats(book: RecipeBook) -> None:
    assert [row["id"] for row in book.front("accuracy")] == ["a", "b", "d"]
    assert [row["id"] for row in book.front("accuracy", "latency_ms")] == ["c", "b", "d"]
    assert [row["id"] for row in book.front("accuracy", under={"energy_j": 250})] == ["a", "b"]


def test_front_of_many_rows_is_the_pareto_set(tmp_path: Path) -> None:
    from greennas.pareto import is_non_dominated

    rng = np.random.default_rng(0)
    points = rng.random((300, 2)).round(2)
    file = tmp_path / "many.csv"
    lines = [f"{i},{a},{e}" for i, (a, e) in enumerate(points)]
    file.write_text("\n".join(["id,accuracy,energy_j", *lines]) + "\n")
    found = {(row["accuracy"], row["energy_j"]) for row in RecipeBook.read(file).front("accuracy")}
    mask = is_non_dominated(points * [-1, 1])
    assert found == {(a, e) for a, e in points[mask]}


def test_cheapest_within_a_share_of_the_best(book: RecipeBook) -> None:
    assert book.cheapest_within(0.0, "accuracy")["id"] == "d"
    assert book.cheapest_within(0.011, "accuracy")["id"] == "b"
    assert book.cheapest_within(0.05, "accuracy")["id"] == "a"
    assert book.cheapest_within(1.0, "latency_ms", "energy_j")["id"] == "b"


def test_single_changes_that_save(book: RecipeBook) -> None:
    found = book.changes("d")
    assert [row["id"] for row in found] == ["b", "c"]
    assert found[0]["change"] == "x: 3 becomes 1"
    assert found[0]["saves"] == 200
    assert found[0]["saves_share"] == 0.5
    assert [row["id"] for row in book.changes("c", metric="accuracy")] == ["b"]
    assert [row["id"] for row in book.changes("d", under={"energy_j": 200})] == ["b"]
    assert book.changes("d", under={"energy_j": 199}) == []
    with pytest.raises(GreenNASError, match="no architecture 'z'"):
        book.changes("z")


def test_every_small_cell_is_built_once_with_its_costs(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "cells.csv"
    assert build(SMALL, out, workers=1, on_progress=lambda done, total, _: seen.append((done, total))) == 91
    assert seen == [(1, 1)]
    assert list(tmp_path.iterdir()) == [out]
    book = RecipeBook.read(out)
    assert len(set(book.texts["canonical"])) == len(set(book.texts["id"])) == 91
    space = SMALL.load()
    for i in (0, 40, 90):
        params = json.loads(book.texts["params"][i])
        cost = space.profile(params, (3, 8, 8), 10, 64)
        assert book.texts["id"][i] == space.architecture(params).id
        assert book.numbers["flops"][i] == cost.total_flops
        assert book.numbers["parameters"][i] == cost.parameters
    assert not [name for name in book.numbers if "energy" in name]  # nothing was measured: no joules
    assert book.cost(None) == "physical_score"


def test_predicted_energy_is_that_of_an_epoch(tmp_path: Path) -> None:
    space = SMALL.load()
    cells = list(space.architectures())
    costs = tuple(space.profile(params, (3, 8, 8), 10, 64) for params in cells[::4])
    joules = np.array([1e-9 * cost.training_flops for cost in costs])
    device = DeviceProfile("X", Kind.MODELLED, costs, dict.fromkeys(QUANTITIES, joules))
    build(SMALL, tmp_path / "cells.csv", device, workers=1)
    book = RecipeBook.read(tmp_path / "cells.csv")
    found = book.numbers["predicted_train_energy_j"]
    expected = np.array([SMALL.images * 1e-9 * space.profile(each, (3, 8, 8), 10, 64).training_flops for each in cells])
    assert np.median(np.abs(found / expected - 1)) < 0.1
    assert (book.numbers["predicted_train_energy_j_low"] < found).all()
    assert book.cost(None) == book.column("energy_j") == "predicted_train_energy_j"
    assert set(book.numbers["outside"]) <= {0, 1}


@pytest.mark.parametrize(("vertices", "count"), [(3, 7), (4, 91), (5, 2532)])
def test_numbers_of_different_cells_are_the_published_ones(vertices: int, count: int) -> None:
    space = load_space("nasbench101", vertices=vertices)
    cells = [space.canonical(params) for params in space.architectures()]
    assert len(cells) == len(set(cells)) == count == space.size


@pytest.mark.skipif(
    not (DATA / "nasbench-data-4epochs.tar.gz").exists(), reason="needs EC-NAS's tables (GREENNAS_TEST_DATA)"
)
@pytest.mark.parametrize("vertices", [4, 5])
def test_cells_are_the_published_ones(vertices: int) -> None:
    space = load_space("nasbench101", vertices=vertices)
    with tarfile.open(DATA / "nasbench-data-4epochs.tar.gz") as archive:
        member = next(each for each in archive if each.name.endswith(f"generated_graphs_{vertices}V9E.json"))
        file = archive.extractfile(member)
        assert file is not None
        published = set(json.load(file))
    assert {space.canonical(params) for params in space.architectures()} == published


def test_a_stopped_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from greennas import recipe_build

    monkeypatch.setattr(recipe_build, "PART", 30)
    whole, stopped = tmp_path / "whole.csv", tmp_path / "stopped.csv"
    build(SMALL, whole, workers=1)

    class StopError(Exception):
        pass

    def stop(done: int, total: int, message: str) -> None:
        assert total == 4
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        build(SMALL, stopped, workers=1, on_progress=stop)
    assert not stopped.exists()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".stopped.csv.parts/*.csv")}
    assert len(kept) >= 2
    messages: list[str] = []
    assert build(SMALL, stopped, workers=1, on_progress=lambda done, total, message: messages.append(message)) == 91
    assert sum("was there" in message for message in messages) == len(kept)
    assert stopped.read_text() == whole.read_text()


def test_parts_of_another_build_are_not_mixed_in(tmp_path: Path) -> None:
    folder = tmp_path / ".cells.csv.parts"
    folder.mkdir()
    (folder / "settings.json").write_text('{"space": "other"}')
    with pytest.raises(GreenNASError, match="other settings"):
        build(SMALL, tmp_path / "cells.csv", workers=1)


def test_changes_of_a_cell_are_one_operation_or_edge_away(tmp_path: Path) -> None:
    build(SMALL, tmp_path / "cells.csv", workers=1)
    book = RecipeBook.read(tmp_path / "cells.csv")
    space = SMALL.load()
    params = space.from_matrix(
        [[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], ["conv3x3-bn-relu", "conv3x3-bn-relu"]
    )
    found = book.changes(space.architecture(params).id, cost="flops")
    here = book.row(book.find(space.canonical(params)))
    assert found
    assert all(row["flops"] < here["flops"] for row in found)
    assert found[0]["saves"] == max(row["saves"] for row in found)
    assert "vertex 1 (conv3x3-bn-relu) becomes maxpool3x3" in {row["change"] for row in found}
    assert "without the edge from input to output" in {row["change"] for row in found}


def test_command_builds_and_answers(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    file = str(tmp_path / "cells.parquet")
    options = ["--vertices", "4", "--set", "space_options.width=8", "--workers", "1"]
    done = greennas("table", "build", "--space", "nasbench101", "--out", file, *options)
    assert done.returncode == 0, done.stderr
    assert "91 architectures" in done.stdout
    assert "no energy" in done.stdout
    rows = json.loads(greennas("table", "query", file, "--best", "parameters", "--top", "2", "--json").stdout)
    assert rows[0]["parameters"] <= rows[1]["parameters"]
    dearest = RecipeBook.read(file)
    id_ = dearest.texts["id"][int(np.argmax(dearest.numbers["flops"]))]
    shown = greennas("table", "query", file, "--change", id_, "--cost", "flops", "--top", "1")
    assert "without the edge" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["FILE"], "--best accuracy"),
        (["FILE", "--best", "accuracy", "--front", "--within", "1%"], "one thing"),
        (["FILE", "--best", "accuracy", "--within", "5x"], "--within 1%"),
        (["FILE", "--best", "accuracy", "--under", "energy"], "COLUMN=LIMIT"),
        (["FILE", "--best", "accuracy", "--under", "flops=1M"], "gives no number; write for example flops=2e6"),
        (["FILE", "--best", "nothing"], "no column"),
        (["no.csv", "--best", "accuracy"], "cannot be read"),
        (["no.txt", "--best", "accuracy"], "neither .csv nor .parquet"),
        (["empty.csv", "--best", "accuracy"], "no rows with numbers; check the file"),
        (["broken.parquet", "--best", "accuracy"], "check the path and that it is Parquet"),
        (["costless.csv", "--best", "accuracy", "--front"], "say with --cost which column is the cost"),
        (["costless.csv", "--change", "a", "--cost", "size"], "no column params, which tells"),
        (
            ["unknown.csv", "--best", "accuracy", "--within", "1%"],
            "no energy_j for any row with such accuracy; fill it in",
        ),
    ],
)
def test_what_cannot_be_asked(arguments: list[str], words: str, capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "t.csv"
    file.write_text("id,accuracy,energy_j\na,0.5,3\n")
    Path("empty.csv").write_text("id,accuracy\n")
    Path("broken.parquet").write_text("id,accuracy\n")
    Path("costless.csv").write_text("id,accuracy,size\na,0.5,3\n")
    Path("unknown.csv").write_text("id,accuracy,energy_j\na,0.9,\nb,0.5,3\n")
    arguments = [str(file) if each == "FILE" else each for each in arguments]
    assert words in rejected(capsys, monkeypatch, "table", "query", *arguments)


def test_what_cannot_be_built(capsys, monkeypatch, tmp_path: Path) -> None:
    arguments = ["table", "build", "--space", "resnet", "--out", str(tmp_path / "t.csv")]
    assert "does not list its architectures" in rejected(capsys, monkeypatch, *arguments)
    arguments = ["table", "build", "--space", "nasbench101", "--out", str(tmp_path / "t.txt")]
    assert "neither .csv nor .parquet" in rejected(capsys, monkeypatch, *arguments)


def test_where_no_table_can_be_built(capsys, monkeypatch, tmp_path: Path) -> None:
    def refused(out: str) -> str:
        before = sorted(tmp_path.iterdir())
        options = ["--vertices", "3", "--set", "space_options.width=8", "--workers", "1"]
        shown = rejected(capsys, monkeypatch, "table", "build", "--space", "nasbench101", "--out", out, *options)
        assert sorted(tmp_path.iterdir()) == before
        return shown

    (tmp_path / "file").write_text("mine")
    assert "there is no folder" in (shown := refused(str(tmp_path / "file" / "t.csv")))
    assert "choose another file" in shown
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'greennas[tables]', or choose a .csv file" in refused(str(tmp_path / "t.parquet"))
    assert "pip install 'greennas[tables]', or use CSV" in rejected(
        capsys, monkeypatch, "table", "query", "t.parquet", "--best", "accuracy"
    )


def test_a_table_that_cannot_be_put_in_place_is_one_sentence_and_its_parts_stay(tmp_path: Path) -> None:
    out, part = tmp_path / "t.csv", tmp_path / ".t.csv.parts" / "000000.csv"
    part.parent.mkdir()
    part.write_text("id\na\n")
    settings = BuildSettings("nasbench101", {"vertices": 3, "width": 8, "depth": 1}, (3, 8, 8), images=1000)

    def somebody_else(done: int, total: int, message: str) -> None:
        (out / "mine").mkdir(parents=True)

    with pytest.raises(DataError, match=r"cannot be written .*; choose another place"):
        build(settings, out, workers=1, on_progress=somebody_else)
    assert (out / "mine").is_dir()
    assert part.is_file()
    with pytest.raises(ConfigError, match=r"t\.csv cannot be written: it is a folder; choose another file"):
        build(settings, out, workers=1)
    (part.parent / "settings.json").write_text("{")
    part.parent.rename(tmp_path / ".t2.csv.parts")
    with pytest.raises(RunError, match=r"\.t2\.csv\.parts cannot be used .*; delete it or choose another file"):
        build(settings, tmp_path / "t2.csv", workers=1)
