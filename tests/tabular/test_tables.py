"""Tables of trained architectures: formats, repeats, and searches replayed on them."""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from table_files import CHAIN, write_csv

import greennas
from greennas.errors import DataError
from greennas.sampler.candidates import ReplayTrial
from greennas.tabular import read_table
from greennas.tabular.files import from_index


@pytest.fixture
def space() -> greennas.SearchSpace:
    return greennas.load_space("nasbench201")


@pytest.mark.parametrize(
    ("index", "cell"),
    [
        (0, "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        (9, "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"),
        (123, "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"),
    ],
)
def test_nasbench201_indices_are_the_published_ones(index: int, cell: str) -> None:
    assert from_index(index) == cell


def test_strings_indices_and_parameters_name_the_same_networks(space: greennas.SearchSpace, tmp_path: Path) -> None:
    index = 123
    cell = from_index(index)
    by_string = read_table(write_csv(tmp_path / "a.csv", [{"arch": cell, "x": 1}]), space)
    by_index = read_table(write_csv(tmp_path / "b.csv", [{"index": index, "x": 1}]), space)
    params = json.dumps(space.from_string(cell))
    by_params = read_table(write_csv(tmp_path / "c.csv", [{"params": params, "x": 1}]), space)
    assert by_string.rows.keys() == by_index.rows.keys() == by_params.rows.keys()


def test_spaces_after_commas_and_indices_of_a_column_with_gaps(space: greennas.SearchSpace, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("index, accuracy , energy_j\n123.0, 0.5, 2\n9.5, 0.5, 2\ninf, 0.5, 2\n")
    table = read_table(file, space)
    assert table.params == {key: space.from_string(from_index(123)) for key in table.rows}
    assert list(table.rows.values()) == [({"accuracy": 0.5, "energy_j": 2.0},)]
    assert sum(table.skipped.values()) == 2


def test_nasbench101_cells(tmp_path: Path) -> None:
    space = greennas.load_space("nasbench101")
    matrix = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    row = {"adjacency": json.dumps(matrix), "operations": "['input', 'conv3x3-bn-relu', 'output']", "acc": 0.9}
    table = read_table(write_csv(tmp_path / "t.csv", [row]), space)
    wanted = space.from_matrix(matrix, ["conv3x3-bn-relu"])
    assert table.draw(wanted, np.random.default_rng(0)) == {"acc": 0.9}


@pytest.mark.parametrize(
    ("matrix", "operations"),
    [
        ("011001000", "input,conv3x3-bn-relu,output"),
        ("[[0, 1, 1], [0, 0, 1], [0, 0, 0]]", '["conv3x3-bn-relu"]'),
        ("((0, 1, 1), (0, 0, 1), (0, 0, 0))", "conv3x3-bn-relu"),
    ],
)
def test_nasbench101_cells_in_any_writing(tmp_path: Path, matrix: str, operations: str) -> None:
    space = greennas.load_space("nasbench101")
    table = read_table(write_csv(tmp_path / "t.csv", [{"matrix": matrix, "ops": operations, "acc": 0.9}]), space)
    wanted = space.from_matrix([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["conv3x3-bn-relu"])
    assert table.draw(wanted, np.random.default_rng(0)) == {"acc": 0.9}


@pytest.mark.parametrize(
    ("column", "joules"),
    [
        ("energy_j", 2),
        ("energy_mj", 0.002),
        ("energy_mJ", 0.002),
        ("energy_MJ", 2e6),
        ("Train_Energy_kJ", 2000),
        ("energy_wh", 7200),
        ("energy_kWh", 7.2e6),
        ("energy (kWh)", 7.2e6),
    ],
)
def test_energies_in_any_unit(space: greennas.SearchSpace, tmp_path: Path, column: str, joules: float) -> None:
    table = read_table(write_csv(tmp_path / "t.csv", [{"arch": CHAIN, "accuracy": 0.5, column: 2}]), space)
    ((row,),) = table.rows.values()
    assert table.energy_j(row) == pytest.approx(joules)


def test_missing_values_are_left_out_and_wrong_ones_named(space: greennas.SearchSpace, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"arch": CHAIN, "accuracy": value, "energy_j": 1, "by": "ann"} for value in (0.1, "", "n/a", "NaN", "0.5")
    ]
    ((*kept,),) = read_table(write_csv(tmp_path / "t.csv", rows), space).rows.values()
    assert [row.get("accuracy") for row in kept] == [0.1, None, None, None, 0.5]
    assert kept[1] == {"energy_j": 1}
    rows[1]["accuracy"] = "high"
    with pytest.raises(DataError, match=r"column accuracy of .* has 'high' in row 2"):
        read_table(write_csv(tmp_path / "t.csv", rows), space)
    rows[1] |= {"accuracy": 0.2, "energy_j": -1}
    with pytest.raises(DataError, match="negative energies"):
        read_table(write_csv(tmp_path / "t.csv", rows), space)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"arch": CHAIN.replace("none", "conv_9x9")}, "no operation 'conv_9x9'"),
        ({"arch": "hello"}, "'hello' is no architecture"),
        ({"params": "[1, 2]"}, "is no architecture"),
        ({"params": '{"edge": 1}'}, "not a NAS-Bench-201 cell"),
        ({"index": 15625}, "15625 is no NAS-Bench-201 index"),
        ({"index": "first"}, "'first' is no architecture"),
        ({"matrix": "0110", "ops": "x"}, "choose another --space"),
    ],
)
def test_why_an_architecture_is_none_of_the_space(
    space: greennas.SearchSpace, tmp_path: Path, row: dict[str, object], reason: str
) -> None:
    with pytest.raises(DataError, match=r"No row of t\.csv is an architecture of the space nasbench201") as caught:
        read_table(write_csv(tmp_path / "t.csv", [{**row, "accuracy": 0.5}]), space)
    assert reason in str(caught.value)


def test_repeats_are_drawn_at_random_and_repeatably(space: greennas.SearchSpace, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"arch": CHAIN, "accuracy": value} for value in (0.1, 0.2, 0.3)]
    table = read_table(write_csv(tmp_path / "t.csv", rows), space)
    params = space.from_string(CHAIN)
    draws = [(table.draw(params, np.random.default_rng(seed)) or {})["accuracy"] for seed in range(60)]
    assert set(draws) == {0.1, 0.2, 0.3}
    assert draws == [(table.draw(params, np.random.default_rng(seed)) or {})["accuracy"] for seed in range(60)]


def test_percent_becomes_a_share_and_cells_without_a_path_are_left_out(
    space: greennas.SearchSpace, tmp_path: Path
) -> None:
    dead = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    rows: list[dict[str, object]] = [{"arch": CHAIN, "accuracy": 91.5}, {"arch": dead, "accuracy": 10}]
    table = read_table(write_csv(tmp_path / "t.csv", rows), space)
    assert list(table.skipped.values()) == [1]
    assert table.draw(space.from_string(CHAIN), np.random.default_rng(0)) == {"accuracy": 0.915}


def test_parquet_where_pyarrow_is_there(space: greennas.SearchSpace, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def written(**columns: list[object]) -> Path:
        parquet.write_table(pyarrow.table({**columns, "accuracy": [0.5], "by": ["ann"]}), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    by_string = read_table(written(arch=[from_index(123)]), space)
    assert list(by_string.rows.values()) == [({"accuracy": 0.5},)]
    assert read_table(written(index=[123]), space).rows == by_string.rows
    assert read_table(written(params=[space.from_string(from_index(123))]), space).rows == by_string.rows
    matrix, operations = [[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", "maxpool3x3", "output"]
    cells = greennas.load_space("nasbench101")
    table = read_table(written(adjacency=[matrix], operations=[operations]), cells)
    assert table.draw(cells.from_matrix(matrix, operations[1:-1]), np.random.default_rng(0)) == {"accuracy": 0.5}
    with pytest.raises(DataError, match="inf is no architecture"):
        read_table(written(index=[float("inf")]), space)
    (tmp_path / "t.parquet").write_bytes(b"text")
    with pytest.raises(DataError, match="is no Parquet"):
        read_table(tmp_path / "t.parquet", space)


def test_parameters_that_a_struct_fills_with_null_are_none(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    space = greennas.load_space("mobilenet")
    rng = np.random.default_rng(0)
    given = {space.architecture(params).id: params for params in (space.sample(ReplayTrial(rng)) for _ in range(9))}
    assert len({frozenset(params) for params in given.values()}) > 1
    params = list(given.values())
    parquet.write_table(pyarrow.table({"params": params, "x": range(len(params))}), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", space)
    assert table.params == given
    assert not table.skipped


def write_ec_nas(folder: Path) -> Path:
    """A results tree as in EC-NAS-Bench's repository, of two cells of 4 vertices, one with two repeats."""
    cells = {
        "aa11": [[[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], [-1, 0, 1, -2]],
        "bb22": [[[0, 1, 0], [0, 0, 1], [0, 0, 0]], [-1, 2, -2]],
    }
    (folder / "graphs").mkdir(parents=True)
    (folder / "graphs" / "generated_graphs_4V9E.json").write_text(json.dumps(cells))
    for key, repeat, accuracy in (("aa11", 1, 0.6), ("aa11", 2, 0.62), ("bb22", 1, 0.4)):
        path = folder / "train_model_results/energy/4V9E/4_epochs" / key[:2] / key / f"repeat_{repeat}"
        path.mkdir(parents=True)
        last = {"validation_accuracy": accuracy, "test_accuracy": accuracy, "train_accuracy": 0.7}
        evaluations = [{}, {**last, "energy (kWh)": 0.01, "training_time": 90.0}]
        content = {"trainable_params": 5, "total_energy (kWh)": 0.02, "evaluation_results": evaluations}
        (path / "results.json").write_text(json.dumps(content))
    return folder


def test_ec_nas_as_folder_and_as_archive(tmp_path: Path) -> None:
    folder = write_ec_nas(tmp_path / "data")
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        for name in ("graphs", "train_model_results"):
            archive.add(folder / name, name)
    space = greennas.load_space("nasbench101", vertices=4)
    for path in (folder, tmp_path / "data.tar.gz"):
        table = read_table(path, space)
        assert sorted(len(rows) for rows in table.rows.values()) == [1, 2]
        row = max(table.rows.values(), key=len)[1]
        assert row["accuracy"] == 0.62
        assert table.energy_j(row) == pytest.approx(36_000)
        assert row["total_energy_j"] == pytest.approx(72_000)
    assert read_table(folder, greennas.load_space("nasbench101")).space.options == {"vertices": 4}
    with pytest.raises(DataError, match=r"4 vertices over 4 epochs; set space_options\.vertices"):
        read_table(folder, greennas.load_space("nasbench101", vertices=5))
    with pytest.raises(DataError, match=r"4 vertices over 4 epochs; set .* table\.epochs"):
        read_table(folder, space, epochs=12)
    with pytest.raises(DataError, match="take --space nasbench101"):
        read_table(folder, greennas.load_space("nasbench201"))
    (folder / "graphs" / "generated_graphs_4V9E.json").unlink()
    with pytest.raises(DataError, match="not of EC-NAS-Bench's form"):
        read_table(folder, space)
    with pytest.raises(DataError, match="no trainings of EC-NAS-Bench"):
        read_table(folder / "graphs", space)
    (tmp_path / "data.tar.gz").write_bytes(b"text")
    with pytest.raises(DataError, match="damaged or no EC-NAS data") as caught:
        read_table(tmp_path / "data.tar.gz", space)
    assert "\n" not in str(caught.value)


def test_surrogate_data(tmp_path: Path) -> None:
    matrix = torch.zeros(1, 7, 7, dtype=torch.int64)
    matrix[0, 0, 1] = matrix[0, 1, 2] = 1
    labels = torch.tensor([[1, 3, 5, 0, 0, 0, 0]])
    torch.save((matrix, labels, torch.tensor([0.02]), torch.tensor([10.0])), tmp_path / "7v_data.pt")
    space = greennas.load_space("nasbench101")
    table = read_table(tmp_path / "7v_data.pt", space)
    row = table.draw(
        space.from_matrix([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["conv3x3-bn-relu"]), np.random.default_rng(0)
    )
    assert row is not None
    assert table.energy_j(row) == pytest.approx(72_000, rel=1e-6)


SEVEN = (torch.zeros(0, 7, 7), torch.zeros(0, 7), torch.zeros(0), torch.zeros(0))


def _pt(path: Path, content: object) -> None:
    torch.save(content, path)


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("t.txt", None, "is no table that can be read; give .csv"),
        ("t.csv", lambda path: path.write_text("arch,x\n"), "has no rows; check the file"),
        ("t.csv", lambda path: path.write_bytes(b"arch,\xff\n"), "is no CSV .*; check the file"),
        ("t.parquet", None, "no such file.*; check the path"),
        ("t.parquet", lambda path: path.write_text("arch,x\n"), "is no Parquet .*; check the file"),
        ("t.tar.gz", None, "cannot be read .*; check the path"),
        ("t.pt", None, "is not EC-NAS's 7v_data.pt .*; check the file"),
        ("t.pt", lambda path: _pt(path, [1]), "is not EC-NAS's 7v_data.pt .*; check the file"),
        ("t.pt", lambda path: _pt(path, SEVEN), "has no trainings; check the file"),
    ],
)
def test_files_that_are_no_tables_are_one_sentence(
    name: str, make: Callable[[Path], object] | None, words: str, tmp_path: Path
) -> None:
    if make is not None:
        make(tmp_path / name)
    with pytest.raises(DataError, match=words) as caught:
        read_table(tmp_path / name, greennas.load_space("nasbench101"))
    assert "\n" not in str(caught.value)


def test_parquet_names_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'greennas\[tables\]', or use CSV"):
        read_table(tmp_path / "t.parquet", greennas.load_space("nasbench201"))
