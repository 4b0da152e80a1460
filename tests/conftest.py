"""Fixtures that several folders share, and what is true of every test session. Nothing is fetched from the Hub."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from shutil import rmtree
from subprocess import Popen
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import settings
from typer.testing import CliRunner, Result
from xdist.scheduler import LoadScopeScheduling

from tests.forked_workers import LIGHT_NODE
from tests.models import FAMILIES, MORE_FAMILIES
from tests.processes import kill_all, sigterm_kept, started, surviving

_SHARE_A_SERVER = frozenset(
    f"tests/serve/{name}.py" for name in ("test_churn", "http/test_http", "http/test_two_shells")
)
_TO_END_S = 60  # for processes of a Ray that was shut down
_NOTICE_DEATHS_SOON = {"health_check_initial_delay_ms": 1_000, "health_check_period_ms": 500}

settings.register_profile("no deadline", deadline=None)  # a busy machine takes its time
settings.load_profile("no deadline")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it costs every cluster a process
# Credentials for the S3 servers of tests: workers have them from the cluster.
os.environ |= {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_EC2_METADATA_DISABLED": "true"}
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that wait leave the cores to the other workers


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of tests that may be made longer."""
    parser.addoption("--storm", type=int, default=400, help="requests that tests/serve/http/test_storm.py sends")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Tear all fixtures down when SIGTERM stops the session, so that no process is left behind."""

    def stop(*_: object) -> None:
        session.shouldstop = "stopped by SIGTERM"  # also where the code under test catches the exception
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that start Ray first: of two workers, the last to finish should have little left to do."""
    ray_files = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in ray_files)


class FilesTogether(LoadScopeScheduling):
    """Give each worker a file at a time, and the files that share a server to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "server" if file in _SHARE_A_SERVER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:
    """Return the scheduler of `pytest -n`."""
    return FilesTogether(config, log)


@pytest.fixture(scope="session", autouse=True)
def nothing_survives() -> Iterator[None]:
    """Fail a session whose tests leave processes behind, and end those. Ray keeps its files in a temporary folder."""
    folder = mkdtemp(prefix="ray-")  # not in pytest's own: sockets lie in it, whose paths must be short
    os.environ["RAY_TMPDIR"] = folder
    yield
    left = surviving(folder, patience_s=_TO_END_S)
    kill_all(list(left))
    rmtree(folder, ignore_errors=True)
    assert not left, f"tests left processes behind: {left}"


@pytest.fixture
def start_process() -> Iterator[Callable[..., Popen[Any]]]:
    """Start processes as `subprocess.Popen` does; each ends with the test, with all processes of its group."""
    with ExitStack() as running:

        def start(command: Sequence[str], **options: Any) -> Popen[Any]:
            return running.enter_context(started(command, **options))

        yield start


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny model, made when it is first asked for."""

    @cache
    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        (FAMILIES | MORE_FAMILIES)[family](folder)
        return folder

    return make


@pytest.fixture(scope="session", params=list(FAMILIES))
def model_folder(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> Path:
    """A tiny model of each family in turn."""
    return folder_of(request.param)


@pytest.fixture(scope="session")
def shared_nodes() -> Iterator[Any]:
    """A Ray cluster that all tests may use: starting one takes as long as several jobs on it.

    Nodes that a test adds to it, the test removes.
    """
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 4, "object_store_memory": 500 * 2**20, "_system_config": _NOTICE_DEATHS_SOON, **LIGHT_NODE}
    with sigterm_kept():
        cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="session")
def shared_address(shared_nodes: Any) -> str:
    """The address of the cluster that all tests may use."""
    address: str = shared_nodes.address
    return address


@pytest.fixture
def shared_cluster(shared_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that start meanwhile join the shared cluster."""
    monkeypatch.setenv("RAY_ADDRESS", shared_address)


@pytest.fixture(scope="module")
def shared_driver(shared_address: str) -> Iterator[None]:
    """This process is connected to the shared cluster, and jobs that it runs keep that connection.

    Ray gives each driver workers of its own. Jobs of one driver share them, and what those have imported.
    """
    import ray

    from jobs.pipeline.cluster import connect

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "disconnect"):
            patch.setattr(f"jobs.pipeline.job.{name}", lambda **_: None)
        patch.setattr("jobs.pipeline.job.is_local", lambda _: False)
        with sigterm_kept():
            connect(address=shared_address, verbose=False)
        try:
            yield
        finally:
            ray.shutdown()


@pytest.fixture
def rerank_here(shared_driver: None) -> Callable[..., Result]:
    """Run `rerank run` in this process, on the shared cluster."""
    from jobs.cli import app

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["run", *map(str, arguments)])

    return run
