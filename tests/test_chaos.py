"""Five minutes of killed workers, nodes and drivers: no trial lost, none doubled, and a bill that adds up."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from greennas.carbon import Phase
from greennas.energy import Kind
from greennas.results import SearchResult
from greennas.run import RunFolder

DATA = Path(os.environ.get("GREENNAS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data" / "ec-nas"))
TABLE = DATA / "nasbench-data-4epochs.tar.gz"
CLI = [sys.executable, "-c", "from greennas.cli import main; main()", "search"]
SECONDS = float(os.environ.get("CHAOS_SECONDS", "300"))
TRIALS = int(SECONDS / 2)
SPEEDUP = 25.0
"""Mean training 4 s, longest 12 s."""


class Search:
    """A driver that is started again whenever it was killed."""

    def __init__(self, address: str, run: Path) -> None:
        self.run = run
        self._address = address
        self._log = run.with_suffix(".log").open("w")
        self.starts: Counter[str] = Counter()
        self.process = self._start("ray")

    def _start(self, executor: str) -> subprocess.Popen[bytes]:
        self.starts[executor] += 1
        command = [*CLI, "--executor", executor, "--ray-address", self._address, "--trials", str(TRIALS)]
        if (self.run / "config.yaml").is_file():
            command += ["--resume", str(self.run)]
        else:
            command += ["--space", "nasbench101", "--set", "space_options.vertices=5", "--table", str(TABLE)]
            command += ["--set", f"table.speedup={SPEEDUP}", "--out", str(self.run), "--concurrency", "4"]
            command += ["--set", "cluster.resources={cpu: 1}"]
        return subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def kill(self, executor: str) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = self._start(executor)


def workers() -> list[int]:
    """Processes that Ray trains in."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and b"Trainable.train" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.long
@pytest.mark.skipif(not TABLE.exists(), reason="needs EC-NAS's tables (GREENNAS_TEST_DATA)")
def test_chaos(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    rng = random.Random(0)
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 10}
    head: dict[str, Any] = {"num_cpus": 2, "include_dashboard": False, "_system_config": quick}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=2)
    did: Counter[str] = Counter()
    search = Search(cluster.address, tmp_path / "run")
    started = time.monotonic()
    last_kill: dict[str, float] = {}
    try:
        while time.monotonic() - started < SECONDS:
            time.sleep(rng.uniform(1, 4))
            what = rng.choices(("worker", "node", "driver"), (4, 2, 2))[0]
            now = time.monotonic()
            # A second kill of the same training would be the end of it, which is another test's business.
            if what == "worker" and now - last_kill.get("worker", 0) > 15 and (pids := workers()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    did[what] += 1
                    last_kill[what] = now
            elif what == "node" and now - last_kill.get("node", started) > 40:
                cluster.remove_node(rng.choice(list(cluster.worker_nodes)), allow_graceful=False)
                cluster.add_node(num_cpus=2)
                did[what] += 1
                last_kill[what] = time.monotonic()
            elif what == "driver" and now - last_kill.get("driver", started) > 45:
                search.kill(rng.choice(("ray", "ray", "local")))
                did[what] += 1
                last_kill[what] = now
        assert search.process.poll() is None or search.process.returncode == 0
        code = search.process.wait(timeout=600)
    finally:
        search.process.kill()
        cluster.shutdown()
    log = (tmp_path / "run.log").read_text()
    assert code == 0, log[-3000:]
    folder = RunFolder.open(tmp_path / "run")
    result = SearchResult(folder.config, folder.read_study())
    complete = [trial for trial in result.trials if trial.state == "COMPLETE"]
    interrupted = sum(trial.interrupted for trial in result.trials)
    print(f"\nkilled: {dict(did)}; drivers: {dict(search.starts)}; interrupted and queued again: {interrupted}")
    print(f"completed {len(complete)} of {TRIALS} after {time.monotonic() - started:.0f} s")
    assert all(did[what] > 0 for what in ("worker", "node", "driver"))
    assert [trial.failure for trial in result.trials if trial.state == "FAIL" and not trial.interrupted] == []
    assert len(complete) == TRIALS
    assert len({trial.architecture_id for trial in complete}) == TRIALS
    assert result.count(TrialState.RUNNING) == result.count(TrialState.WAITING) == 0
    # The bill: one training entry a completed trial, and totals that are the sums of the readings.
    trained = [e.reading.energy_j or 0.0 for e in result.cost.entries if e.phase is Phase.TRAINING]
    assert len(trained) == TRIALS
    assert math.isclose(math.fsum(trained), math.fsum(t.metrics["train_energy_j"] or 0.0 for t in complete))
    bill = json.loads((tmp_path / "run" / "cost.json").read_text())
    for kind, total in bill["summary"]["totals"].items():
        readings = [e["reading"]["energy_j"] for e in bill["entries"] if e["reading"]["kind"] == kind]
        assert math.isclose(total["energy_j"], math.fsum(readings))
    nodes = {e.reading.node for e in result.cost.entries if e.reading.kind is Kind.TABULAR}
    print(f"nodes that trained: {len(nodes - {''})}; training energy {math.fsum(trained):,.0f} J")
