"""The search runs that EC-NAS-Bench's authors published."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ec_nas_files import pickled

import greennas
from greennas.errors import DataError
from greennas.tabular import PublishedRun, read_ec_nas, read_published_runs

DATA = Path(os.environ.get("GREENNAS_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data" / "ec-nas"))

HEADER = "method,space,run,trial_index,val_acc,tst_acc,energy,train_time,params,co2eq\n"
TRIALS = [
    "rs,5V,3,0,-69.6414252,-69.1339493,0.017004,90.6479988,5.94574916,1.530597\n",
    "rs,5V,3,1,0,0,0,0,0,0\n",
    "rs,5V,3,2,-52.3137033,-52.2001863,0.005668,30.2159996,5.94574916,0.510199\n",
]


def check(run: PublishedRun) -> None:
    assert (run.method, run.space, run.number, len(run)) == ("rs", "5V", 3, 3)
    assert run.valid.tolist() == [True, False, True]
    np.testing.assert_allclose(run.accuracy, [0.696414252, np.nan, 0.523137033])
    np.testing.assert_allclose(run.test_accuracy, [0.691339493, np.nan, 0.522001863])
    np.testing.assert_allclose(run.energy_j, [61_214.4, 0, 20_404.8])
    np.testing.assert_allclose(run.train_seconds, [90.6479988, 0, 30.2159996])
    np.testing.assert_array_equal(run.parameters, [882_570, np.nan, 882_570])


def test_the_authors_files_and_the_gathered_ones_are_the_same_runs(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "rs"
    folder.mkdir(parents=True)
    (folder / "5v_rs_3.pickle").write_bytes(pickled())
    (tmp_path / "runs.csv").write_text(HEADER + "".join(TRIALS[i] for i in (2, 0, 1)))
    (tmp_path / "runs.csv.gz").write_bytes(gzip.compress((HEADER + "".join(TRIALS)).encode()))
    for path in (folder / "5v_rs_3.pickle", tmp_path / "runs", tmp_path / "runs.csv", tmp_path / "runs.csv.gz"):
        (run,) = read_published_runs(path)
        check(run)


def test_runs_come_sorted(tmp_path: Path) -> None:
    for name in ("7v_semoa_10.pickle", "7v_semoa_9.pickle", "4v_semoa_1.pickle", "5v_msehvi_0.pickle"):
        (tmp_path / name).write_bytes(pickled())
    runs = [(run.method, run.space, run.number) for run in read_published_runs(tmp_path)]
    assert runs == [("msehvi", "5V", 0), ("semoa", "4V", 1), ("semoa", "7V", 9), ("semoa", "7V", 10)]


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.target), "w"))


def test_pickles_are_decoded_and_never_run(tmp_path: Path) -> None:
    file, victim = tmp_path / "5v_rs_3.pickle", tmp_path / "victim"
    file.write_bytes(pickle.dumps(Malice(victim)))
    with pytest.raises(DataError, match=r"refused: it is a pickle with the global '.*open'"):
        read_published_runs(file)
    assert not victim.exists()


def test_faults_are_one_sentence(tmp_path: Path) -> None:
    def fault(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError) as caught:
            read_published_runs(tmp_path / name)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "not named as" in fault("other.pickle", pickled())
    assert "not a whole pickle" in fault("5v_rs_3.pickle", pickled()[:800])
    assert "not of the form" in fault("5v_rs_3.pickle", pickle.dumps({"energy": 1}))
    assert "'energy'" in fault("a.csv", (HEADER.replace("energy", "joules") + TRIALS[0]).encode())
    assert "not of the form" in fault("a.csv", (HEADER + TRIALS[0].replace("-69.64", "good")).encode())
    assert "no search runs" in fault("a.csv", HEADER.encode())
    assert "runs.csv.gz" in fault("runs.csv.gz", gzip.compress((HEADER + TRIALS[0]).encode())[:-9])
    with pytest.raises(DataError, match="No such file"):
        read_published_runs(tmp_path / "missing.csv")


@pytest.mark.skipif(not (DATA / "published_runs.csv.gz").exists(), reason="needs EC-NAS's data (GREENNAS_TEST_DATA)")
def test_what_the_authors_published_fits_their_benchmark() -> None:
    runs = read_published_runs(DATA / "published_runs.csv.gz")
    counts = {(m, s): sum((r.method, r.space) == (m, s) for r in runs) for m, s in {(r.method, r.space) for r in runs}}
    assert set(counts) == {(m, s) for m in ("rs", "semoa", "msehvi", "shemoa") for s in ("4V", "5V", "7V")}
    assert all(count == 10 for part, count in counts.items() if part != ("semoa", "7V"))
    for vertices in (4, 5):
        table = read_ec_nas(
            DATA / "nasbench-data-4epochs.tar.gz", greennas.load_space("nasbench101", vertices=vertices)
        )
        published = {row["parameters"] for rows in table.rows.values() for row in rows}
        found = np.concatenate([run.parameters[run.valid] for run in runs if run.space == f"{vertices}V"])
        assert set(found.tolist()) <= published
    for run in runs:
        assert np.all(run.energy_j[run.valid] > 0)
        assert np.all((run.accuracy[run.valid] > 0) & (run.accuracy[run.valid] < 1))
        assert not run.energy_j[~run.valid].any()
