"""The page on clusters: Ray on this machine, Slurm's job with stand-ins for it, Kubernetes' entry point, PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import Page, changed
from postgresql import PASSWORD, Server

pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

SMALL = "--data digits --trials 2 --set training.epochs=1 --confirm 0"
ALONE = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""With processes of one's own: what ends Ray on a node ends none of those outside."""
SRUN = """\
#!/bin/bash
while [[ $1 == --* ]]; do shift; done
[[ $* == "hostname -I" ]] && exec echo 127.0.0.1
exec "$@"
"""
PROGRAMS = {
    "scontrol": "#!/bin/sh\nhostname",
    "srun": SRUN,
    "greennas/bin/activate": f'PATH="{Path(sys.executable).parent}:$PATH"',
}
"""Slurm on one node, which is reached through loopback alone, and a user's environment."""
ANSWERS = """
import subprocess, sys, time, urllib.request

address, word, *command = sys.argv[1:]
server = subprocess.Popen(command)
answer = ""
while word not in answer and server.poll() is None:
    time.sleep(0.1)
    try:
        answer = urllib.request.urlopen(address, timeout=10).read().decode()
    except OSError:
        continue
    print(answer)
server.terminate()
sys.exit(word not in answer)
"""


def alone() -> bool:
    """Whether processes can be hidden from those of a test."""
    return bool(shutil.which("unshare")) and subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a cluster of one node without a GPU is."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster: Any = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    yield cluster.address
    cluster.shutdown()


def test_cluster(page: Page, address: str) -> None:
    page.run(
        ("--executor ray ", f"--executor ray {SMALL} "),
        ("gpu=1,cpu=4", "cpu=1"),
        only="Searches on a cluster",
        environment={"RAY_ADDRESS": address},
    )


def job_of_kubernetes(page: Page) -> Any:
    (text,) = (example.text for example in page.examples if example.section == "Kubernetes")
    return yaml.safe_load(text)


def test_cluster__kubernetes(page: Page) -> None:
    job = job_of_kubernetes(page)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        for mount in container.get("volumeMounts", []):
            assert mount["name"] in {volume["name"] for volume in group["template"]["spec"]["volumes"]}


@pytest.mark.long
def test_cluster__entry_point_of_kubernetes(page: Page, address: str) -> None:
    changes = [
        ("--data cifar10 --data-dir /runs/cifar10 --trials 200", SMALL),
        ("/runs", str(page.folder)),
        ("gpu=1,cpu=4", "cpu=1"),
    ]
    (entry_point,) = changed([job_of_kubernetes(page)["spec"]["entrypoint"]], changes)
    page.execute("bash", entry_point, {"RAY_ADDRESS": address})
    assert (page.folder / "mobilenet-cifar10" / "report.html").is_file()


@pytest.mark.skipif(not alone(), reason="the job ends all Ray processes that it sees; unshare cannot hide others here")
def test_cluster__slurm(tmp_path: Path) -> None:
    page = Page("cluster", tmp_path)
    (text,) = (example.text for example in page.examples if example.section == "Slurm")
    assert text.startswith("#!/bin/bash\n#SBATCH ")
    changes = [
        ('--data cifar10 --data-dir "$SCRATCH/cifar10" --trials 200', SMALL),
        ("gpu=1,cpu=8", "cpu=1"),
        (":6379", f":{free_port()}"),
    ]
    (job,) = changed([text], changes)
    (tmp_path / "job.sh").write_text(job)
    (tmp_path / "greennas" / "bin").mkdir(parents=True)
    for name, program in PROGRAMS.items():
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    slurm = {"SLURM_JOB_NODELIST": "node[1-1]", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2"}
    slurm |= {"SLURM_GPUS_ON_NODE": "0", "HOME": str(tmp_path), "SCRATCH": str(tmp_path), "PATH": path}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:  # Ray's sockets have long names
        page.execute("bash", " ".join([*ALONE, "bash", "job.sh"]), {**slurm, "RAY_TMPDIR": short})
        assert (tmp_path / "runs" / "mobilenet-cifar10" / "report.html").is_file()


def test_cluster__team(page: Page, server: Server) -> None:
    (page.folder / "answers.py").write_text(ANSWERS)
    port = free_port()
    answers = f"python answers.py http://127.0.0.1:{port}/api/studies mine optuna-dashboard --port {port} "
    page.run(
        ("team@db.example.org/nas", f"team@127.0.0.1:{server.port}/postgres"),
        ("--out runs/mine", f"--out runs/mine {SMALL}"),
        ("optuna-dashboard ", answers),
        only="A study that a team looks into",
        environment={"PGPASSWORD": PASSWORD},
    )
