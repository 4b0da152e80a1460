"""The commands of docs/operations.md on a head that asks for a token, as Ray comes, and the KubeRay manifests."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import mkdtemp
from zipfile import ZipFile

import httpx
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
    metrics: str
    address: str
    installed: Path
    environment: dict[str, str]

    def without(self, name: str) -> dict[str, str]:
        return {key: value for key, value in self.environment.items() if key != name}


def run(words: list[str], environment: dict[str, str], *, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return completed(words, timeout=240, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    sources, folder = (tmp_path_factory.mktemp(name) for name in ("sources", "installed"))
    for name in ("rerank", "jobs", "serve"):
        copytree(ROOT / name, sources / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (sources / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = run([sys.executable, "-c", build], dict(os.environ), folder=sources)
    assert done.returncode == 0, done.stderr
    with ZipFile(sources / done.stdout.split()[-1]) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def head(installed: Path) -> Iterator[Head]:
    """What the documented lines start, on free ports, with a home of its own, and with the package installed.

    Nobody tells this head to ask for a token: it does because there is one. It ends with all that it started.
    """
    folder = mkdtemp(prefix="ray-")  # sockets lie in it, and their paths must be short
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": folder, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(installed)
    made = run(list(TOKEN.words), environment)
    assert made.returncode == 0, made.stderr
    port, dashboard, agent, metrics = (free_port() for _ in range(4))
    options = [f"--port={port}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    options += [f"--metrics-export-port={metrics}"]
    options += ["--num-cpus=2", f"--temp-dir={folder}", "--block", "--include-dashboard=true"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        caching = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with started([*START.words, *options], env=caching, cwd=folder, **silent) as process:
            try:
                wait_for(dashboard)
                environment |= dict(word.split("=") for word in EXPORT.words[1:])
                urls = [f"http://127.0.0.1:{number}" for number in (dashboard, metrics)]
                yield Head(*urls, f"127.0.0.1:{port}", installed, environment)
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


def submit_installed(head: Head, source: Path, output: Path, *options: str) -> list[str]:
    """The documented line without the checkout, with more options of `ray job submit`."""
    words = submit_line(head, source, output)
    start = words.index("--working-dir")
    return [*words[:start], *options, *words[start + 2 :]]


@pytest.mark.ray
def test_an_installed_package_is_run_without_a_checkout(head: Head, tmp_path: Path) -> None:
    pq.write_table(pairs_table(ROWS), tmp_path / "in.parquet")
    line = submit_installed(head, tmp_path / "in.parquet", tmp_path / "out")
    done = run(line, head.environment, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["pairs_ranked"] == 20
    assert (head.installed / "jobs" / "__pycache__").is_dir()  # jobs have imported this copy

    refused = run(line, head.environment, folder=tmp_path)  # the output is there
    assert refused.returncode == 1
    message = "Job entrypoint command failed with exit code 2"
    assert message in refused.stdout + refused.stderr
    assert message in (ROOT / "docs/operations.md").read_text()


@pytest.mark.ray
def test_a_submitted_job_is_stopped(
    head: Head, tmp_path: Path, start_process: Callable[..., subprocess.Popen[str]]
) -> None:
    """It waits for CPUs, because its entry point holds both, and says before that what it renames."""
    table = pairs_table(ROWS)
    pq.write_table(table.append_column("rank", [[1] * len(table)]), tmp_path / "in.parquet")
    options = ("--submission-id", "to-be-stopped", "--entrypoint-num-cpus", "2")
    line = submit_installed(head, tmp_path / "in.parquet", tmp_path / "out", *options)
    submitted = start_process(line, env=head.environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert submitted.stdout is not None
    assert any("columns of the input" in printed for printed in submitted.stdout)
    stopped, logged = (
        run(["ray", "job", verb, "to-be-stopped", "--address", head.dashboard], head.environment)
        for verb in ("stop", "logs")
    )
    assert stopped.returncode == 0, stopped.stderr
    assert "rerank: stopped; nothing was scored yet, start again" in logged.stdout
    submitted.stdout.read()
    assert submitted.wait() == 0


@pytest.mark.ray
def test_metrics_are_scraped_without_the_token_and_the_list_of_them_with_it(head: Head) -> None:
    assert "ray_" in httpx.get(f"{head.metrics}/metrics").text
    targets = f"{head.dashboard}/api/prometheus/sd"
    assert httpx.get(targets).status_code == 401
    token = (Path(head.environment["HOME"]) / ".ray" / "auth_token").read_text()
    assert httpx.get(targets, headers={"Authorization": f"Bearer {token}"}).json()[0]["targets"]


@pytest.mark.ray
def test_a_run_without_the_mode_is_told_what_to_set(head: Head, tmp_path: Path) -> None:
    pq.write_table(pairs_table(ROWS), tmp_path / "in.parquet")
    words = [sys.executable, "-m", "jobs.run", str(tmp_path / "in.parquet"), str(tmp_path / "out")]
    done = run([*words, "--address", head.address], head.without("RAY_AUTH_MODE"))
    assert done.returncode == 2, done.stderr
    message = f"rerank: the Ray cluster at '{head.address}' asks for a token: set RAY_AUTH_MODE=token and put"
    assert done.stderr.splitlines()[-1].startswith(message)


def test_a_run_without_a_token_is_told_where_to_put_it(tmp_path: Path) -> None:
    pq.write_table(pairs_table(ROWS), tmp_path / "in.parquet")
    words = [sys.executable, "-m", "jobs.run", str(tmp_path / "in.parquet"), str(tmp_path / "out")]
    environment = os.environ | {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
    done = run([*words, "--address", "127.0.0.1:1"], environment)
    assert done.returncode == 2, done.stderr
    assert "no authentication token was found: put the token that `ray get-auth-token` prints" in done.stderr


def test_readme_shows_the_same_line() -> None:
    consoles = [block for block in blocks(ROOT / "README.md") if block.language == "console"]
    lines = [command.words for block in consoles for command in commands(block)]
    assert SUBMIT.words[:-2] in [words[:-2] for words in lines]


def test_the_kuberay_manifest_runs_the_job_with_the_pinned_ray() -> None:
    job = yaml.safe_load((ROOT / "jobs" / "rayjob.yaml").read_text())["spec"]["jobTemplate"]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"ray=={job['rayClusterSpec']['rayVersion']}" in constraints
    assert job["entrypoint"].startswith("python -m jobs.run s3://")


def test_the_kuberay_manifests_ask_for_a_token() -> None:
    job = yaml.safe_load((ROOT / "jobs" / "rayjob.yaml").read_text())["spec"]["jobTemplate"]
    server = yaml.safe_load((ROOT / "serve" / "rayservice.yaml").read_text())["spec"]
    for cluster in (job["rayClusterSpec"], server["rayClusterConfig"]):
        assert cluster["authOptions"] == {"mode": "token"}
