"""One cluster for the runs that need none of their own: starting one takes as long as such a run."""

from collections.abc import Iterator

import pytest
from ray.cluster_utils import Cluster


@pytest.fixture(scope="module")
def shared_address() -> Iterator[str]:
    """The address of a cluster that all tests of a module may use."""
    head = {"num_cpus": 4, "object_store_memory": 500 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def shared_cluster(shared_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that start meanwhile join the shared cluster."""
    monkeypatch.setenv("RAY_ADDRESS", shared_address)
