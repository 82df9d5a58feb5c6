from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgresql import Server

    from greennas.data import Dataset

# Small matrices and small images: further threads only burn CPU time. Set before anything loads a BLAS.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

SMALL_SPACE = '''
"""Two convolutions of searched widths; some of its networks go wrong on purpose."""
import os
import signal

import torch
from torch import nn

WIDTHS = [2, 4, 8, 12, 16, 24]


class NaN(nn.Module):
    def forward(self, x):
        return x * float("nan")


class Hungry(nn.Module):
    def forward(self, x):
        return x + torch.ones(10**15)[:1]


class Deadly(nn.Module):
    def forward(self, x):
        if not x.is_meta:
            os.kill(os.getpid(), signal.SIGKILL)
        return x


class Slow(nn.Module):
    def forward(self, x):
        if self.training and not x.is_meta:
            import time
            time.sleep(float(os.environ.get("SLOW_STEP", "0.05")))
        return x


FAULTS = {"nan": NaN, "hungry": Hungry, "deadly": Deadly, "slow": Slow}


def sample(trial):
    return {
        "first": trial.suggest_categorical("first", WIDTHS),
        "second": trial.suggest_categorical("second", WIDTHS),
        "fault": trial.suggest_categorical("fault", os.environ.get("FAULTS", "none").split(",")),
    }


def build(params, input_shape, num_classes):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], params["first"], 3, padding=1, bias=False),
        nn.BatchNorm2d(params["first"]),
        nn.ReLU(),
        nn.Conv2d(params["first"], params["second"], 3, stride=2, padding=1),
        nn.ReLU(),
        FAULTS.get(params["fault"], nn.Identity)(),
        nn.Flatten(),
        nn.Linear(params["second"] * 16, num_classes),
    )
'''


@pytest.fixture(scope="session", autouse=True)
def user_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An empty user folder, so that no test depends on how this machine was calibrated."""
    os.environ["GREENNAS_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Whatever the test before it has set."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    from greennas.data import load_data

    return load_data("digits")


@pytest.fixture
def small_space(tmp_path: Path) -> str:
    """Path of a space file of 36 networks for 8x8 images; the environment variable FAULTS names faults to mix in."""
    path = tmp_path / "small_space.py"
    path.write_text(SMALL_SPACE)
    return str(path)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search over small networks of nasbench201 on digits; leave it as it is."""
    import greennas

    out = tmp_path_factory.mktemp("search") / "run"
    settings = {
        "space_options": {"width": 2, "depth": 1},
        "training": {"epochs": 2},
        "screen": {"initial": 3, "pool": 20},
        "energy": {"confirm": 2},
    }
    greennas.search("nasbench201", "digits", trials=4, out=out, workers=1, seed=2, **settings)
    return out


@pytest.fixture
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``finished_run`` to write into."""
    return Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("copy") / "run"))


@pytest.fixture
def server() -> Iterator[Server]:
    """A PostgreSQL server of the test's own, on loopback."""
    from postgresql import running

    with running() as found:
        yield found


@pytest.fixture(scope="session")
def ec_nas() -> Path:
    """Folder of the EC-NAS data."""
    folder = Path(os.environ.get("GREENNAS_TEST_DATA", Path(__file__).parents[2] / "shared/data/ec-nas"))
    if not all((folder / name).is_file() for name in ("nasbench-data-4epochs.tar.gz", "published_runs.csv.gz")):
        pytest.skip(f"no EC-NAS data in {folder}; set GREENNAS_TEST_DATA to its folder")
    return folder
