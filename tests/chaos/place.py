"""A cluster of three nodes on this machine with a server on it, and the processes there that may be killed."""

import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray
from ray import serve as ray_serve
from ray.cluster_utils import Cluster

from jobs.bench.server.process import free_port
from tests.forked_workers import LIGHT_NODE
from tests.jobs.processes import titles_below
from tests.processes import kill_all, sigterm_kept
from tests.serve.conftest import ENVIRONMENT
from tests.serve.replicas import STAND_IN, build

NAME = "chaos"
_HEAD = {
    "num_cpus": 4,
    "object_store_memory": 300 * 2**20,
    "_system_config": {"health_check_initial_delay_ms": 1_000, "health_check_period_ms": 500},
}
_WORKER = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 100 * 2**20}  # GPUs that this machine does not have
_PROXY = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.http.proxy:middlewares"}
_ARGUMENTS = {
    "limits": {"timeout_s": 120},
    "models": [
        {"name": "steady", "model": STAND_IN, "num_cpus": 0.1, "num_gpus": 0, "min_replicas": 2, "max_replicas": 2}
    ],
}
# What may be killed, by the titles of its processes. An IDLE worker does nothing, and an agent is half of a node.
TITLES = {
    "actor": r"ray::\w*MapWorker",
    "worker": r"ray::(?!IDLE|\w*MapWorker|Serve|Proxy|\S*Agent)",
    "replica": rf"ray::ServeReplica:{NAME}:steady",
    "ingress": rf"ray::ServeReplica:{NAME}:ingress",
    "proxy": r"ray::ProxyActor",
}
KINDS = (*TITLES, "node")


class Place:
    """The cluster, its two nodes that may die, and the address of the server, whose proxy is on the head."""

    def __init__(self, cluster: Cluster, url: str) -> None:
        self.cluster, self.url = cluster, url
        self._nodes = [cluster.add_node(**_WORKER, **LIGHT_NODE) for _ in range(2)]

    def kill(self, kind: str, rng: random.Random) -> str | None:
        """Kill one of a kind, and return what it was; None if none runs. Another node takes the place of a dead one."""
        if kind == "node":
            node = self._nodes.pop(rng.randrange(len(self._nodes)))
            self.cluster.remove_node(node, allow_graceful=False)
            self._nodes.append(self.cluster.add_node(**_WORKER, **LIGHT_NODE, wait=False))
            return f"node {node.node_id[:8]}"
        victims = {pid: title for pid, title in titles_below(os.getpid()).items() if re.match(TITLES[kind], title)}
        if not victims:
            return None
        pid = rng.choice(sorted(victims))
        kill_all([pid])
        return f"{victims[pid].strip()} ({pid})"

    @property
    def address(self) -> str:
        """The address of the cluster."""
        address: str = self.cluster.address
        return address


@contextmanager
def running_place() -> Iterator[Place]:
    """Start the cluster and the server, on loopback only, and end them with the block."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, sigterm_kept():
        for name, value in {**ENVIRONMENT, **_PROXY}.items():
            patch.setenv(name, value)
        cluster = Cluster(initialize_head=True, head_node_args={**_HEAD, **LIGHT_NODE})
        try:
            place = Place(cluster, f"http://127.0.0.1:{port}")
            ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
            ray_serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
            ray_serve.run(build(_ARGUMENTS), name=NAME, route_prefix="/")
            yield place
        finally:
            ray_serve.shutdown()
            ray.shutdown()
            cluster.shutdown()
