"""The Ray cluster that a job runs on: connect to it, choose pools of actors that fit on it, wait for room."""

from jobs.pipeline.cluster.connection import connect, disconnect, is_local, start_ray_data
from jobs.pipeline.cluster.nodes import Nodes, cluster_nodes
from jobs.pipeline.cluster.plan import plan_pools
from jobs.pipeline.cluster.wait import secure_pools

__all__ = [
    "Nodes",
    "cluster_nodes",
    "connect",
    "disconnect",
    "is_local",
    "plan_pools",
    "secure_pools",
    "start_ray_data",
]
