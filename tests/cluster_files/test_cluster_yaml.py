"""cluster.yaml and jobs/cluster-local.yaml are what `ray up` takes, and name what the Dockerfile builds."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ["cluster.yaml", "jobs/cluster-local.yaml"]


def config_of(file: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return content


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    result: dict[str, Any] = prepare_config(config)
    validate_config(result)
    return result


@pytest.mark.parametrize("file", FILES)
def test_ray_accepts_the_cluster_file(file: str) -> None:
    assert prepared(config_of(file))["cluster_name"] == "rerank"


@pytest.mark.parametrize("file", FILES)
def test_ray_refuses_a_misspelt_setting(file: str) -> None:
    import jsonschema

    config = config_of(file)
    config["idle_timeout_minuts"] = config.pop("idle_timeout_minutes")
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuts"):
        prepared(config)


def test_workers_come_for_work_only_and_are_on_spot() -> None:
    types = prepared(config_of("cluster.yaml"))["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    workers = [types["tokeniser"], types["scorer"]]
    assert [worker["min_workers"] for worker in workers] == [0, 0]
    assert [worker["node_config"]["InstanceMarketOptions"] for worker in workers] == [{"MarketType": "spot"}] * 2
    assert all(name["max_workers"] <= config_of("cluster.yaml")["max_workers"] for name in workers)


def test_every_image_is_a_target_of_the_dockerfile() -> None:
    config = config_of("cluster.yaml")
    images = [config["docker"]["head_image"], config["docker"]["worker_image"]]
    images += [node["docker"]["worker_image"] for node in config["available_node_types"].values() if "docker" in node]
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {image.rpartition("-")[2] for image in images} <= set(targets)


def test_the_fallback_image_runs_the_pinned_ray() -> None:
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    (ray,) = (line.partition("==")[2] for line in constraints if line.startswith("ray=="))
    assert f"rayproject/ray:{ray}-" in (ROOT / "cluster.yaml").read_text()


@pytest.mark.parametrize("file", FILES)
def test_every_node_gets_the_token_and_asks_for_it(file: str) -> None:
    config = config_of(file)
    assert config["file_mounts"].get("/home/ray/.ray/auth_token", "~/.ray/auth_token") == "~/.ray/auth_token"
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    starts = [line for line in starts if "ray start " in line]
    assert len(starts) == 2
    assert all(re.search(r"RAY_AUTH_MODE=token \S*ray start", line) for line in starts)


def test_the_local_provider_starts_the_head_and_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's provider for machines that one has, which keeps its state in a file and calls nothing."""
    from ray.autoscaler._private.local import node_provider
    from ray.autoscaler.tags import NODE_KIND_HEAD, NODE_KIND_WORKER, TAG_RAY_NODE_KIND

    monkeypatch.setattr(node_provider, "get_lock_path", lambda _: str(tmp_path / "lock"))
    monkeypatch.setattr(node_provider, "get_state_path", lambda _: str(tmp_path / "state"))
    config = prepared(config_of("jobs/cluster-local.yaml"))
    provider = node_provider.LocalNodeProvider(config["provider"], config["cluster_name"])
    nodes = config["available_node_types"]
    for kind in (NODE_KIND_HEAD, NODE_KIND_WORKER, NODE_KIND_WORKER):
        provider.create_node({}, {TAG_RAY_NODE_KIND: kind}, 1)
    assert provider.non_terminated_nodes({TAG_RAY_NODE_KIND: NODE_KIND_HEAD}) == [config["provider"]["head_ip"]]
    workers = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: NODE_KIND_WORKER})
    assert sorted(workers) == config["provider"]["worker_ips"]
    assert [node["max_workers"] for node in nodes.values()] == [len(workers)]
