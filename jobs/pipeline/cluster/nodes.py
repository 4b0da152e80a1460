"""Nodes of a Ray cluster, and those that its autoscaler may start."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray._private.state import state
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get

Resources = Mapping[str, float]

_NOT_MANAGED = "node_"  # how Ray names the type of a node that no autoscaler has started
_MOST_NODES_OF_A_TYPE = 256  # that are counted on paper


@dataclass(frozen=True, slots=True)
class Nodes:
    """Resources of nodes: those that are there, and those that an autoscaler may start, as far as Ray knows them.

    The autoscaler of `ray up` does not tell the other processes of a cluster which nodes it may start. Then
    `has_autoscaler` is True and `startable` is empty.
    """

    alive: Sequence[Resources]
    startable: Sequence[Resources] = ()
    has_autoscaler: bool = False

    @property
    def all(self) -> list[Resources]:
        """Return the nodes that are there and those that an autoscaler may start."""
        return [*self.alive, *self.startable]


def cluster_nodes() -> Nodes:
    """Return the nodes of the connected cluster."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    startable = _startable(alive)
    return Nodes(alive, startable, has_autoscaler=bool(startable) or _is_managed())


def _startable(alive: Sequence[Resources]) -> list[Resources]:
    """Return the nodes that are missing to the maximum of each type that the cluster's configuration names."""
    config = state.get_cluster_config()
    if config is None:
        return []
    running = Counter(_shape(node) for node in alive)
    missing: list[Resources] = []
    for group in config.node_group_configs:
        resources = {name: float(amount) for name, amount in group.resources.items()}
        most = group.max_count if group.max_count >= 0 else _MOST_NODES_OF_A_TYPE
        missing += [resources] * min(_MOST_NODES_OF_A_TYPE, most - min(most, running[_shape(resources)]))
    return missing


def _shape(resources: Resources) -> tuple[float, float]:
    return resources.get("CPU", 0.0), resources.get("GPU", 0.0)


def _is_managed() -> bool:
    """Return whether an autoscaler is responsible for the cluster: it then reports types of nodes by name.

    Ray has two versions of its autoscaler, which leave their reports in different places.
    """
    with suppress(Exception):  # these reports are private; without them a cluster counts as one of a fixed size
        if is_autoscaler_v2(fetch_from_server=True):
            status = get_cluster_status(ray.get_runtime_context().gcs_address)
            types = [node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes)]
        else:
            report = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}").get("autoscaler_report", {})
            types = list((report.get("node_type_mapping") or {}).values())
        return any(not name.startswith(_NOT_MANAGED) for name in types)
    return False
