"""The commands of docs/operations.md on a cluster that asks for a token, and the KubeRay manifest."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pyarrow.parquet as pq
import pytest
import yaml

from jobs.bench.memory import descendants
from jobs.bench.server.process import free_port
from tests.docs.pages import ROOT, blocks, commands
from tests.jobs.tables import pairs_table
from tests.processes import completed, kill_all, started

ROWS = [(f"q{q}", f"query {q}", [(f"d{d}", f"text {d} of {q}") for d in range(4)]) for q in range(5)]
EXPORT, TOKEN, START, SUBMIT = next(
    list(commands(block)) for block in blocks(ROOT / "docs/operations.md") if "ray start --head" in block.text
)


@dataclass
class Head:
    """A head node that asks for a token, and the environment of a shell in which its commands were typed."""

    dashboard: str
    address: str
    environment: dict[str, str]

    def without(self, name: str) -> dict[str, str]:
        return {key: value for key, value in self.environment.items() if key != name}


def run(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return completed(words, timeout=240, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """What the documented lines start, on free ports and with a home of its own; ends with all that it started."""
    folder = mkdtemp(prefix="ray-")  # sockets lie in it, and their paths must be short
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": folder, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= dict(word.split("=") for word in EXPORT.words[1:])
    made = run(list(TOKEN.words), environment)
    assert made.returncode == 0, made.stderr
    port, dashboard, agent = free_port(), free_port(), free_port()
    options = [f"--port={port}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    options += ["--num-cpus=2", f"--temp-dir={folder}", "--block", "--include-dashboard=true"]
    command = [*START.words, *options]
    try:
        with started(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(dashboard)
                yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}", environment)
            finally:
                kill_all(list(descendants(process.pid)))  # a head that is asked to leave takes half a minute
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


def submit_line(head: Head, source: Path, output: Path) -> list[str]:
    """The documented line, with the address and the paths of this test."""
    filled = {"IN": str(source), "OUT": str(output), "http://127.0.0.1:8265": head.dashboard}
    assert filled.keys() <= set(SUBMIT.words)
    return [filled.get(word, word) for word in SUBMIT.words]


@pytest.mark.ray
def test_the_documented_lines_rank_with_a_token(head: Head, tmp_path: Path) -> None:
    pq.write_table(pairs_table(ROWS), tmp_path / "in.parquet")
    done = run(submit_line(head, tmp_path / "in.parquet", tmp_path / "out"), head.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["pairs_ranked"] == 20
    assert json.dumps(manifest) in done.stdout


@pytest.mark.ray
def test_without_the_mode_ray_refuses_as_documented(head: Head, tmp_path: Path) -> None:
    done = run(submit_line(head, tmp_path / "in.parquet", tmp_path / "out"), head.without("RAY_AUTH_MODE"))
    assert done.returncode != 0
    message = "Authentication required: Unauthorized: Missing authentication token"
    assert message in done.stderr
    assert message in " ".join((ROOT / "docs/operations.md").read_text().split())


@pytest.mark.ray
def test_a_run_without_the_mode_is_told_what_to_set(head: Head, tmp_path: Path) -> None:
    pq.write_table(pairs_table(ROWS), tmp_path / "in.parquet")
    words = [sys.executable, "-m", "jobs.run", str(tmp_path / "in.parquet"), str(tmp_path / "out")]
    seconds = {"RAY_NUM_REDIS_GET_RETRIES": "1"}  # Ray would try for 20
    done = run([*words, "--address", head.address], head.without("RAY_AUTH_MODE") | seconds)
    assert done.returncode == 2, done.stderr
    assert f"rerank: no Ray cluster answers at '{head.address}'" in done.stderr
    assert "if it asks for a token, set RAY_AUTH_MODE=token and put the cluster's token in" in done.stderr


def test_a_run_without_a_token_is_told_where_to_put_it(tmp_path: Path) -> None:
    pq.write_table(pairs_table(ROWS), tmp_path / "in.parquet")
    words = [sys.executable, "-m", "jobs.run", str(tmp_path / "in.parquet"), str(tmp_path / "out")]
    environment = os.environ | {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
    done = run([*words, "--address", "127.0.0.1:1"], environment)
    assert done.returncode == 2, done.stderr
    assert "no authentication token was found; put the cluster's token in RAY_AUTH_TOKEN" in done.stderr


def test_the_kuberay_manifest_runs_the_job_with_the_pinned_ray() -> None:
    job = yaml.safe_load((ROOT / "jobs" / "rayjob.yaml").read_text())["spec"]["jobTemplate"]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"ray=={job['rayClusterSpec']['rayVersion']}" in constraints
    assert job["entrypoint"].startswith("python -m jobs.run s3://")
