"""What is known of the nodes of a cluster, from what Ray and its autoscaler report."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.core.generated.autoscaler_pb2 import ClusterConfig

from jobs.pipeline.cluster import Nodes, cluster_nodes, nodes

SMALL = {"CPU": 4.0, "GPU": 1.0}
BIG = {"CPU": 16.0, "GPU": 4.0}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that Ray reports this."""

    def pretend(
        alive: list[dict[str, float]],
        *,
        groups: dict[int, dict[str, float]] | None = None,
        types: list[str] | None = None,
        is_v2: bool = False,
    ) -> None:
        config = None if groups is None else ClusterConfig()
        for most, resources in (groups or {}).items():
            config.node_group_configs.add(max_count=most, resources={k: int(v) for k, v in resources.items()})
        dead = {"Alive": False, "Resources": BIG}
        named = {f"10.0.0.{number}": name for number, name in enumerate(types or [])}
        v1 = {"autoscaler_report": {"node_type_mapping": named}} if types else {}
        v2 = SimpleNamespace(
            active_nodes=[], idle_nodes=[SimpleNamespace(ray_node_type_name=each) for each in types or []]
        )
        monkeypatch.setattr(ray, "nodes", lambda: [dead, *({"Alive": True, "Resources": each} for each in alive)])
        monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="head:6379"))
        monkeypatch.setattr(nodes.state, "get_cluster_config", lambda: config)
        monkeypatch.setattr(nodes, "is_autoscaler_v2", lambda *, fetch_from_server: is_v2)
        monkeypatch.setattr(nodes, "_internal_kv_get", lambda key: None if is_v2 else json.dumps(v1).encode())
        monkeypatch.setattr(nodes, "get_cluster_status", lambda address: v2)

    return pretend


@pytest.mark.parametrize("is_v2", [False, True])
@pytest.mark.parametrize(
    ("types", "has_autoscaler"),
    [(None, False), (["node_4f2a", "node_77b0"], False), (["head"], True), (["node_4f2a", "gpu"], True)],
)
def test_an_autoscaler_is_known_by_the_types_of_its_nodes(
    report: Any, types: list[str] | None, has_autoscaler: bool, is_v2: bool
) -> None:
    report([SMALL], types=types, is_v2=is_v2)
    assert cluster_nodes() == Nodes([SMALL], [], has_autoscaler=has_autoscaler)


def test_nodes_that_may_come_are_those_that_are_missing_to_the_maximum(report: Any) -> None:
    report([SMALL, {"CPU": 2.0}], groups={3: SMALL, 1: BIG, 0: {"CPU": 64.0}})
    assert cluster_nodes() == Nodes([SMALL, {"CPU": 2.0}], [SMALL, SMALL, BIG], has_autoscaler=True)


def test_a_type_without_a_maximum_counts_as_many_nodes(report: Any) -> None:
    report([], groups={-1: SMALL})
    assert len(cluster_nodes().startable) == 256


def test_a_cluster_whose_reports_cannot_be_read_has_a_fixed_size(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    report([SMALL], types=["gpu"])
    monkeypatch.setattr(nodes, "_internal_kv_get", lambda key: b"{")
    assert cluster_nodes() == Nodes([SMALL], [], has_autoscaler=False)
