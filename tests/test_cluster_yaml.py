"""cluster.yaml is one that `ray up` takes."""

from pathlib import Path

import yaml

CLUSTER = Path(__file__).parent.parent / "cluster.yaml"


def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(CLUSTER.read_text())
    validate_config(prepare_config(config))


def test_the_image_runs_the_pinned_ray() -> None:
    constraints = (CLUSTER.parent / "constraints.txt").read_text().splitlines()
    (ray,) = (line.partition("==")[2] for line in constraints if line.startswith("ray=="))
    assert f"ray:{ray}-" in yaml.safe_load(CLUSTER.read_text())["docker"]["image"]


def test_every_node_gets_the_token_and_asks_for_it() -> None:
    config = yaml.safe_load(CLUSTER.read_text())
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert [line.split()[:3] for line in starts if " start " in line] == [["RAY_AUTH_MODE=token", "ray", "start"]] * 2
