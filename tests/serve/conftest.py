"""The application in this process, with a model without weights, and one real server for all tests that need one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from jobs.bench.server.process import serve_run
from serve.http.endpoint import Server
from serve.http.limits import Limits
from serve.keys import ApiKeys
from serve.models import Models
from tests.processes import sigterm_kept
from tests.serve.standins import LengthScorer, calling

ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parents[2]),  # where replicas find tests.serve.replicas
    "RERANK_KEYS": "me=secret",
    "RAY_worker_niceness": "0",  # with Ray's 15, replicas hardly start while other tests keep the cores busy
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}


@pytest.fixture
def scorer() -> LengthScorer:
    return LengthScorer()


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def keys() -> ApiKeys | None:
    return None


@pytest.fixture
def client(scorer: LengthScorer, limits: Limits, keys: ApiKeys | None) -> Callable[..., httpx.Response]:
    """Call the application in this process: `client(path, json=…)`."""
    return calling(Server(Models({"length": scorer}, {"short": "length", "org/length": "length"}), limits, keys))


@pytest.fixture(scope="package")
def ray_address() -> Iterator[str]:
    """The address of a Ray for the server alone, without the processes that only its users need."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 4, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        with sigterm_kept():
            cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="package")
def server(ray_address: str) -> Iterator[httpx.Client]:
    """A client of `serve run`, with its key. The files that use it are in `_SHARE_A_SERVER` of tests/conftest.py."""
    from tests.serve.replicas import STAND_IN

    arguments = {
        "models": [
            {"name": "org/first", "aliases": ["default"], "model": "docs-mini", "dtype": "float32", "threads": 1},
            {"name": "tight", "model": STAND_IN, "num_cpus": 0.1, "max_waiting_pairs": 1_000},
        ],
        "limits": {"documents": 900},
        "cors_origins": ["https://app.example"],
    }
    environment = {**ENVIRONMENT, "RAY_ADDRESS": ray_address}
    with (
        serve_run("tests.serve.replicas:build", arguments, environment=environment) as url,
        httpx.Client(base_url=url, headers={"Authorization": "Bearer secret"}, timeout=60) as client,
    ):
        yield client
