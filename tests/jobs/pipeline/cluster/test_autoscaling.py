"""Ray's own autoscaler with fake machines: a job waits for those that it needs, and says for what.

`ray.cluster_utils.AutoscalingCluster` reads an example that Ray's wheel lacks, so the configuration is written here.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.cluster_utils import Cluster

from jobs.bench.memory import descendants
from jobs.pipeline.cluster import cluster_nodes, connect
from rerank.errors import ConfigError, UnavailableError
from tests.forked_workers import LIGHT_NODE
from tests.jobs.pipeline.test_nodes import ROWS, check_whole, start, wait_until
from tests.processes import kill_all, sigterm_kept

pytestmark = pytest.mark.ray

STORE_BYTES = 80 * 2**20
HEAD = "ray.head.default"
WORKERS = {
    "gpu": {"CPU": 1, "GPU": 1, "accelerator_type:L4": 1},
    "cpu": {"CPU": 2, "cpu_node": 1},
}


def configuration(port: int) -> dict[str, Any]:
    """Return what `ray up` would give the autoscaler: up to two nodes of each kind, none to begin with."""
    workers = {
        name: {"resources": {**resources, "object_store_memory": STORE_BYTES}, "node_config": {}, "max_workers": 2}
        for name, resources in WORKERS.items()
    }
    lists = ("setup_commands", "initialization_commands", "head_setup_commands", "worker_setup_commands")
    lists += ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files")
    lists += ("rsync_exclude", "rsync_filter")
    return {
        **{name: list[str]() for name in lists},
        "cluster_name": "fake",
        "max_workers": 4,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 100,
        "provider": {
            "type": "external",
            "module": "tests.jobs.pipeline.cluster.light_provider.LightProvider",
            "gcs_address": f"{ray.util.get_node_ip_address()}:{port}",
            "use_node_id_as_ip": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}, **workers},
        "head_node_type": HEAD,
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
    }


@pytest.fixture(scope="module")
def autoscaling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This process is connected to a head without CPUs, whose autoscaler has not started a node yet."""
    file = tmp_path_factory.mktemp("autoscaling") / "config.yaml"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file.write_text(yaml.safe_dump(configuration(port)))
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, **LIGHT_NODE, "no_monitor": False}
    head |= {"autoscaling_config": str(file), "gcs_server_port": port}
    head |= {"env_vars": {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID}}
    with pytest.MonkeyPatch.context() as patch, sigterm_kept():
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))  # Ray's monitor imports the provider
        patch.setenv("RAY_FAKE_CLUSTER", "1")
        patch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
        others = descendants(os.getpid()).keys()  # such as the cluster that other tests share
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            connect(address=cluster.address, verbose=False)
            for name in ("connect", "disconnect"):
                patch.setattr(f"jobs.pipeline.job.{name}", lambda **_: None)
            wait_until(lambda: cluster_nodes().has_autoscaler)
            yield
        finally:
            ray.shutdown()
            nodes = descendants(os.getpid())
            cluster.shutdown()
            kill_all([pid for pid in nodes.keys() - others if any("ray" in word for word in nodes[pid])])


@pytest.mark.usefixtures("autoscaling")
def test_a_job_that_may_run_on_any_node_says_on_which(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say --gpus-per-actor 1 for actors on GPUs, or 0 for actors on CPUs"):
        start(tmp_path, ROWS[:1]).run_here()


@pytest.mark.usefixtures("autoscaling")
def test_a_job_waits_for_the_nodes_that_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = start(
        tmp_path,
        ROWS[:8],
        pool={"actors": "1:2", "accelerator_type": "L4"},
        prepare_resources={"cpu_node": 0.001},
    )
    check_whole(job, job.run_here(), ROWS[:8])
    err = capsys.readouterr().err
    assert "waiting for nodes that the autoscaler starts, 900 seconds at most: one actor and the tasks that feed" in err
    assert "room for 1 CPU, 1 GPU and 0.001 accelerator_type:L4, 1 CPU and 0.001 cpu_node; 0 CPUs and 0 GPUs are" in err
    kinds = [
        node["Resources"].keys() & {"GPU", "cpu_node"} for node in ray.nodes() if node["NodeID"] != FAKE_HEAD_NODE_ID
    ]
    assert {"GPU"} in kinds
    assert {"cpu_node"} in kinds


@pytest.mark.usefixtures("autoscaling")
def test_nodes_that_do_not_come_end_the_job(tmp_path: Path) -> None:
    job = start(tmp_path, ROWS[:1], pool={"accelerator_type": "H100"}, patience_s=2)
    with pytest.raises(UnavailableError, match=r"started no suitable node within 2 seconds: .* accelerator_type:H100"):
        job.run_here()
