"""The guides: energy and its prediction, spaces, tables, how it is built."""

from __future__ import annotations

import pytest
from ec_nas_files import pickled
from pages import EC_NAS, FASHION_MNIST, Page, needs_ec_nas, needs_fashion_mnist
from picture_folders import write_noise
from tfrecords import energy_record, small_cells, write_records


def test_energy(page: Page) -> None:
    page.run(("--device cuda", "--device cpu --quick"))


@needs_fashion_mnist
@needs_ec_nas
def test_prediction(page: Page) -> None:
    page.run(
        ("--networks 48", "--networks 5 --space nasbench201 --data digits --set space_options.width=4"),
        ("cpu.json --data DIR", f"cpu.json --data {EC_NAS}"),
        ("--networks 24", "--networks 5 --space nasbench201 --data digits --set space_options.width=4"),
        ("--data-dir DIR", f"--data-dir {FASHION_MNIST} --images 8 --seeds 1"),
        but="Does a profile save a search joules?",
    )


@pytest.mark.long
@needs_ec_nas
def test_prediction__what_a_profile_saves(page: Page) -> None:
    page.run(
        ("--data DIR", f"--data {EC_NAS}"),
        ("--seeds 20 --trials 200", "--seeds 1 --trials 8"),
        only="Does a profile save a search joules?",
    )


def test_search_spaces(page: Page) -> None:
    write_noise(page.folder / "pictures")
    page.run()


def test_tables(page: Page) -> None:
    """EC-NAS's files with the cells of up to four vertices and one run in them."""
    records = [
        energy_record(f"aa{number}", epochs, 0.5 + number / 1000, (number + 1) * epochs / 1000, operations, matrix)
        for number, (matrix, operations) in enumerate(small_cells(vertices=4))
        for epochs in (12, 108)
    ]
    write_records(page.folder / "energy_5V9E_linscale.tfrecord", records)
    runs = page.folder / "EC-NAS-Bench" / "ecnas" / "experiments" / "runs" / "rs"
    runs.mkdir(parents=True)
    (runs / "5v_rs_0.pickle").write_bytes(pickled())
    page.run(("--trials 100", "--trials 4"), ("--energy-budget 2kWh", "--energy-budget 2kWh --trials 4"))


def test_architecture(page: Page) -> None:
    page.run(("--trials 20 100 1000 5000", "--trials 20 --asks 2"), ("--trials 20000", "--trials 5 --vertices 4"))
