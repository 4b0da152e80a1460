"""Servers in separate processes, started for a benchmark and stopped after it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from rerank.config import ScorerConfig
from rerank.errors import UnavailableError

_START_S = 300.0
_STOP_S = 15.0
_RAY_ENVIRONMENT = {"RAY_ADDRESS": "local", "RAY_worker_niceness": "0"}  # Ray's default niceness is 15, the rival's 0
_RUN_SERVE = "from ray.serve.scripts import cli; cli()"
_RUN_INFINITY = "from infinity_emb.cli import cli; cli()"


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM raise SystemExit in this context, so that the servers are stopped too. Main thread only."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def our_server(config: ScorerConfig) -> Iterator[str]:
    """Run `serve run serve.app:build` on a Ray cluster of its own and yield its address. Raises UnavailableError."""
    with serve_run("serve.app:build", {"model": config.model, "device": config.device}) as url:
        yield url


@contextmanager
def serve_run(
    import_path: str, args: Mapping[str, Any], *, environment: Mapping[str, str] = _RAY_ENVIRONMENT
) -> Iterator[str]:
    """Run `serve run` with an application and its arguments, and yield its address. Raises UnavailableError."""
    port = free_port()
    application = {
        "name": "rerank",
        "import_path": import_path,
        "args": dict(args),
        "logging_config": {"enable_access_log": False},
    }
    settings = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        command = [sys.executable, "-c", _RUN_SERVE, "run", str(file)]
        with _running(command, port, environment) as url:
            yield url


@contextmanager
def rival_server(config: ScorerConfig) -> Iterator[str]:
    """Run `jobs.bench.server.rivals_server` and yield its address. Raises UnavailableError."""
    port = free_port()
    command = [sys.executable, "-m", "jobs.bench.server.rivals_server", config.location, str(port)]
    with _running(command, port, {}) as url:
        yield url


@contextmanager
def infinity_server(config: ScorerConfig, python: Path) -> Iterator[str]:
    """Run infinity_emb with the interpreter `python` and yield its address. Raises UnavailableError."""
    port = free_port()
    options = {"model-id": config.location, "port": port, "url-prefix": "/v1", "host": "127.0.0.1", "engine": "torch"}
    flags = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    command = [str(python), "-c", _RUN_INFINITY, "v2", *flags]
    with _running(command, port, {"DO_NOT_TRACK": "1"}, ready="/v1/models") as url:
        yield url


def free_port() -> int:
    """Return a port of this machine that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(
    command: Sequence[str], port: int, environment: Mapping[str, str], *, ready: str = "/readyz"
) -> Iterator[str]:
    """Start a server, yield its address once it is ready, and stop it with all its child processes."""
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            if not _is_ready(f"{url}{ready}", process):
                log.seek(0)
                lines = log.read().decode(errors="replace").splitlines()[-5:]
                raise UnavailableError(f"{' '.join(command[1:])} did not start: {' / '.join(lines)}")
            yield url
        finally:
            _stop(process)


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            with urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return True
        except (URLError, OSError):
            pass
        time.sleep(0.2)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM (background jobs of a shell ignore SIGINT) and, if that takes too long, kill the whole session."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
