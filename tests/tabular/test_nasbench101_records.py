"""The TFRecord files of NAS-Bench-101 and EC-NAS-Bench as tables, and a search on one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tfrecords import CHAIN, OPERATIONS, energy_record, message, metrics, record, write_records

import greennas
from greennas.errors import DataError
from greennas.reproduce import reproduce_ecnas
from greennas.tabular import read_nasbench101, read_nasbench101_budgets, read_table
from greennas.tabular.protobuf import fields

NO_PATH = [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def plain_record(accuracy: float, epochs: int = 108) -> bytes:
    """As NAS-Bench-101 has it: no energy, and a text in the place of EC-NAS-Bench's."""
    last = {1: float(epochs), 2: 1769.0, 3: 1.0, 4: accuracy, 5: 0.93, 6: "/model.ckpt-1234"}
    return record("aa11", epochs, CHAIN, OPERATIONS[:2], metrics(last, 8_555_530, {}))


def test_records_and_results_tree_give_one_table(tmp_path: Path) -> None:
    space = greennas.load_space("nasbench101")
    tree = tmp_path / "data"
    (tree / "graphs").mkdir(parents=True)
    graphs = {"aa11": [CHAIN, [-1, 0, 1, -2]], "bb22": [CHAIN, [-1, 2, 0, -2]]}
    (tree / "graphs" / "generated_graphs_4V9E.json").write_text(json.dumps(graphs))
    records = []
    for key, repeat, accuracy, kwh in (("aa11", 1, 0.6, 0.01), ("aa11", 2, 0.62, 0.012), ("bb22", 1, 0.4, 0.008)):
        folder = tree / f"train_model_results/energy/4V9E/4_epochs/{key[:2]}/{key}/repeat_{repeat}"
        folder.mkdir(parents=True)
        last = {"validation_accuracy": accuracy, "test_accuracy": 0.59, "train_accuracy": 0.7}
        last |= {"energy (kWh)": kwh, "training_time": 90.0}
        content = {"trainable_params": 1_756_298, "total_energy (kWh)": 0.02, "evaluation_results": [{}, last]}
        (folder / "results.json").write_text(json.dumps(content))
        operations = OPERATIONS[:2] if key == "aa11" else [OPERATIONS[2], OPERATIONS[0]]
        records.append(energy_record(key, 4, accuracy, kwh, operations))
    first = read_table(write_records(tmp_path / "energy_4V9E.tfrecord", records), space)
    second = read_table(tree, space)
    assert first.rows == second.rows
    assert first.params == second.params
    assert (first.energy, first.epochs) == (second.energy, second.epochs) == ("train_energy_j", 4)
    assert first.space.options == second.space.options == {"vertices": 4}
    row = first.draw(space.from_matrix(CHAIN, [OPERATIONS[2], OPERATIONS[0]]), np.random.default_rng(0))
    assert row is not None
    assert (row["accuracy"], first.energy_j(row), row["total_energy_j"]) == (0.4, pytest.approx(28_800), 72_000)


def test_the_longest_budget_is_read_unless_one_is_named(tmp_path: Path) -> None:
    records = [energy_record(epochs=epochs, accuracy=epochs / 200, kwh=epochs * 0.0025) for epochs in (4, 108, 12)]
    path = write_records(tmp_path / "energy_4V9E_linscale.tfrecord", records)
    space = greennas.load_space("nasbench101", vertices=4)
    for epochs, budget in ((None, 108), (4, 4), (12, 12)):
        table = read_nasbench101(path, space, epochs=epochs)
        ((row,),) = table.rows.values()
        assert (table.epochs, row["accuracy"]) == (budget, budget / 200)
        assert table.energy_j(row) == pytest.approx(budget * 0.0025 * 3.6e6)
        assert ("total_energy_j" in row) is (budget == 4)  # of the others it is not known
    with pytest.raises(DataError, match=r"table\.epochs to one of 4, 12, 108"):
        read_nasbench101(path, space, epochs=36)


def test_nasbench101_itself_has_repeats_and_no_energy(tmp_path: Path) -> None:
    path = write_records(tmp_path / "nasbench_only108.tfrecord", [plain_record(x) for x in (0.93, 0.94, 0.92)])
    table = read_table(path, greennas.load_space("nasbench101"))
    ((*rows,),) = table.rows.values()
    assert [row["accuracy"] for row in rows] == [0.93, 0.94, 0.92]
    assert rows[0] == {
        "accuracy": 0.93,
        "test_accuracy": 0.93,
        "train_accuracy": 1.0,
        "train_seconds": 1769.0,
        "parameters": 8_555_530.0,
    }
    assert table.energy is None


def test_vertices_that_are_given_stay_and_other_cells_are_counted(tmp_path: Path) -> None:
    bad = record("cc33", 4, NO_PATH, [OPERATIONS[0]], metrics({2: 1.0, 3: 0.1, 4: 0.1, 5: 0.1}, 5, {}))
    path = write_records(tmp_path / "t.tfrecord", [energy_record(), bad, bad])
    table = read_table(path, greennas.load_space("nasbench101", vertices=6))
    assert table.space.options == {"vertices": 6}
    assert len(table) == 1
    ((reason, count),) = table.skipped.items()
    assert (count, "no path" in reason) == (2, True)


def test_other_records_and_spaces_are_refused(tmp_path: Path) -> None:
    space = greennas.load_space("nasbench101")
    run = message([(1, message([(4, 0.5)])), (2, 7)])
    for content in (
        b"no JSON",
        b"[1, 2]",
        b"{}",
        energy_record()[:-40] + b'"]',
        record("a", 4, CHAIN, OPERATIONS, run),
    ):
        with pytest.raises(DataError, match="is not NAS-Bench-101's"):
            read_table(write_records(tmp_path / "t.tfrecord", [content]), space)
    with pytest.raises(DataError, match="no records"):
        read_table(write_records(tmp_path / "t.tfrecord", []), space)
    with pytest.raises(DataError, match="take --space nasbench101"):
        read_table(write_records(tmp_path / "t.tfrecord", [energy_record()]), greennas.load_space("resnet"))


def test_protocol_buffers_are_read_by_their_wire_types() -> None:
    nested = message([(1, 0.5), (1, "x" * 300)])
    values = [(1, 0), (2, 300), (3, 2**40), (16, -1.5), (4, nested), (4, b"")]
    assert list(fields(message(values))) == values
    assert list(fields(b"\x0d\x00\x00\xc0\x3f")) == [(1, 1.5)]  # a float of 32 bits
    for wrong in (b"\x08", b"\x08\x80", b"\x09\x00", b"\x0a\x05abc", b"\x0b"):
        with pytest.raises(ValueError, match=r"ends within|wire type"):
            list(fields(wrong))


def test_a_search_on_records_has_their_size_of_cells_and_their_joules(tmp_path: Path) -> None:
    cells = greennas.load_space("nasbench101", vertices=4).architectures()
    records = []
    for i, cell in enumerate(cells):
        kwh = 0.01 * (1 + cell["operations"].count("conv3x3-bn-relu"))
        last = {1: 4.0, 2: 90.0, 3: 0.7, 4: 0.3 + 0.007 * (i * 37 % 91), 5: 0.5, 6: kwh}
        run = metrics(last, 10_000 + i, {4: 2 * kwh})
        matrix = [list(row) for row in cell["matrix"]]
        records.append(record(f"{i:04x}", 4, matrix, list(cell["operations"]), run))
    path = write_records(tmp_path / "energy_4V9E.tfrecord", records)
    result = greennas.search("nasbench101", table=path, trials=100, energy_budget_j=3.6e6 * 0.3, out=tmp_path / "run")
    assert result.config.space_options == {"vertices": 4}
    assert {trial.state for trial in result.trials} == {"COMPLETE"}
    assert {trial.epochs for trial in result.trials} == {4}
    spent_j = result.cost.totals()["tabular"].energy_j  # type: ignore[index]
    assert spent_j is not None
    joules = [trial.metrics["train_energy_j"] for trial in result.trials]
    assert 0.25 < spent_j / 3.6e6 <= 0.3 + (max(joules) - np.mean(joules)) / 3.6e6  # a mean training has to fit


def test_every_budget_of_a_file_and_what_a_reproduction_makes_of_it(tmp_path: Path) -> None:
    records = [
        energy_record("aa11", epochs, accuracy, epochs / 4 * kwh, operations)
        for epochs, gain in ((12, 0.2), (4, 0.0))
        for accuracy, kwh, operations in ((0.5 + gain, 0.01, OPERATIONS[:2]), (0.4 + gain, 0.004, OPERATIONS[1:]))
    ]
    path = write_records(tmp_path / "energy_4V9E_linscale.tfrecord", records)
    tables = read_nasbench101_budgets(path, greennas.load_space("nasbench101"))
    assert [(table.epochs, len(table), table.space.options) for table in tables] == [
        (4, 2, {"vertices": 4}),
        (12, 2, {"vertices": 4}),
    ]
    assert tables[1].rows == read_nasbench101(path, greennas.load_space("nasbench101")).rows
    found = reproduce_ecnas(tmp_path)
    ranges = found.sections[0].grids[0].rows
    assert [row[:2] for row in ranges] == [
        [f"4V, {epochs} epochs (energy_4V9E_linscale.tfrecord)", 2] for epochs in (4, 12)
    ]
    with pytest.raises(DataError, match="not NAS-Bench-101's"):
        read_nasbench101_budgets(
            write_records(tmp_path / "broken.tfrecord", [b"[1, 2]"]), greennas.load_space("nasbench101")
        )


def test_trainings_without_energies_are_nothing_to_reproduce(tmp_path: Path) -> None:
    write_records(tmp_path / "energy_4V9E.tfrecord", [plain_record(0.9)])
    with pytest.raises(DataError, match="has no energies; give EC-NAS-Bench's files, not NAS-Bench-101's"):
        reproduce_ecnas(tmp_path)
