"""`ray job submit --working-dir . -- python -m jobs.run …` on a cluster of its own, and the KubeRay manifest."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pyarrow.parquet as pq
import pytest
import yaml

from jobs.bench.memory import descendants
from jobs.bench.server.process import free_port
from tests.jobs.tables import pairs_table
from tests.processes import completed, kill_all, started

ROOT = Path(__file__).parents[3]
ROWS = [(f"q{q}", f"query {q}", [(f"d{d}", f"text {d} of {q}") for d in range(4)]) for q in range(5)]


@pytest.fixture
def dashboard() -> Iterator[str]:
    """A head node with its job server on free ports. It ends with every process that it started."""
    port, dashboard, agent = free_port(), free_port(), free_port()
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    folder = mkdtemp(prefix="ray-")  # sockets lie in it, and their paths must be short
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
    command += [
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}",
        "--num-cpus=4",
        "--include-dashboard=true",
        f"--temp-dir={folder}",
    ]
    try:
        with started(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as head:
            try:
                wait_for(dashboard)
                yield f"http://127.0.0.1:{dashboard}"
            finally:
                kill_all(list(descendants(head.pid)))  # a head that is asked to leave takes half a minute
    finally:
        rmtree(folder, ignore_errors=True)


def wait_for(port: int, *, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"nothing answers on port {port}")


@pytest.mark.ray
def test_a_submitted_job_ranks(dashboard: str, tmp_path: Path) -> None:
    pq.write_table(pairs_table(ROWS), tmp_path / "in.parquet")
    command = [
        str(Path(sys.executable).with_name("ray")),
        "job",
        "submit",
        "--address",
        dashboard,
        "--working-dir",
        ".",
    ]
    command += ["--", sys.executable, "-m", "jobs.run", str(tmp_path / "in.parquet"), str(tmp_path / "out")]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    done = completed(command, timeout=240, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["pairs_ranked"] == 20
    assert json.dumps(manifest) in done.stdout


def test_the_kuberay_manifest_runs_the_job_with_the_pinned_ray() -> None:
    job = yaml.safe_load((ROOT / "jobs" / "rayjob.yaml").read_text())["spec"]["jobTemplate"]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"ray=={job['rayClusterSpec']['rayVersion']}" in constraints
    assert job["entrypoint"].startswith("python -m jobs.run s3://")
