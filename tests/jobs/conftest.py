"""One Ray for the jobs that need none of their own: starting one takes as long as several such jobs."""

from collections.abc import Callable, Iterator

import pytest
import ray
from ray.cluster_utils import Cluster
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.pipeline.cluster import connect
from tests.processes import sigterm_kept


@pytest.fixture(scope="session")
def shared_address() -> Iterator[str]:
    """The address of a cluster that all tests may use."""
    head = {"num_cpus": 4, "object_store_memory": 500 * 2**20, "include_dashboard": False}
    with sigterm_kept():
        cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def shared_cluster(shared_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that start meanwhile join the shared cluster."""
    monkeypatch.setenv("RAY_ADDRESS", shared_address)


@pytest.fixture(scope="module")
def shared_driver(shared_address: str) -> Iterator[None]:
    """This process is connected to the shared cluster, and jobs that it runs keep that connection.

    Ray gives each driver workers of its own. Jobs of one driver share them, and what those have imported.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "disconnect"):
            patch.setattr(f"jobs.pipeline.job.{name}", lambda **_: None)
        with sigterm_kept():
            connect(address=shared_address, verbose=False)
        try:
            yield
        finally:
            ray.shutdown()


@pytest.fixture
def rerank_here(shared_driver: None) -> Callable[..., Result]:
    """Run `rerank run` in this process, on the shared cluster."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["run", *map(str, arguments)])

    return run
