"""Pools of actors that fit on nodes, counted on paper."""

from typing import Any

import pytest

from jobs.pipeline.cluster import Nodes, plan_pools
from jobs.pipeline.stages.pool import Pool
from jobs.pipeline.stages.pool_settings import PoolSettings
from jobs.pipeline.stages.settings import StageConfig
from rerank.config import ScorerConfig, parse_config
from rerank.errors import ConfigError

GPU_NODE = {"CPU": 16.0, "GPU": 4.0}
LOW = {"CPU": 1.0, "GPU": 1.0}
SMALL = {"CPU": 4.0, "GPU": 1.0}
L4, H100 = SMALL | {"accelerator_type:L4": 1.0}, GPU_NODE | {"accelerator_type:H100": 1.0}
ON_L4 = {"accelerator_type:L4": 0.001}
ON_CPU = {"cpu_node": 0.001}
CPU_NODE = {"CPU": 8.0, "cpu_node": 1.0}


def stage(device: str = "auto", **pool: Any) -> StageConfig:
    return StageConfig(scorer=ScorerConfig(device=device), pool=parse_config(PoolSettings, pool, source="test"))


@pytest.mark.parametrize(
    ("nodes", "stages", "expected"),
    [
        ([{"CPU": 4.0}], [stage()], [Pool(1, 2, 0)]),
        ([{"CPU": 4.0}], [stage("cpu", actors=2)], [Pool(2, 1, 0)]),
        ([{"CPU": 2.0}], [stage()], [Pool(1, 1, 0)]),
        ([GPU_NODE, GPU_NODE], [stage()], [Pool(8, 1, 1)]),
        ([GPU_NODE, GPU_NODE], [stage("cuda", actors=3)], [Pool(3, 1, 1)]),
        ([LOW, {"CPU": 1.0}], [stage()], [Pool(1, 1, 1)]),
        ([{"CPU": 8.0}] * 2, [stage()], [Pool(2, 7, 0)]),
        ([{"CPU": 4.0}] * 4, [stage()], [Pool(2, 4, 0)]),  # as many CPUs as a node has, not those of the sum
        ([GPU_NODE], [stage("cpu")], [Pool(2, 7, 0)]),
        ([GPU_NODE], [stage(actors="2:16")], [Pool(2, 1, 1, max_size=16)]),  # nodes may join
        ([{"CPU": 4.0}], [stage(actors="1:3")], [Pool(1, 1, 0, max_size=3)]),
        ([GPU_NODE], [stage(gpus=0.5)], [Pool(8, 1, 0.5)]),
        ([SMALL], [stage(gpus=0.2, actors=3)], [Pool(3, 1, 0.2)]),
        ([{"CPU": 32.0, "GPU": 2.0}], [stage(gpus=0.1)], [Pool(20, 1, 0.1)]),  # ten tenths are one
        ([GPU_NODE], [stage(gpus=2)], [Pool(2, 1, 2)]),
        ([GPU_NODE], [stage(gpus=0)], [Pool(2, 7, 0)]),
        ([H100, L4, L4], [stage(accelerator_type="L4")], [Pool(2, 1, 1, resources=ON_L4)]),
        ([GPU_NODE, CPU_NODE], [stage(gpus=0, resources=ON_CPU)], [Pool(1, 8, 0, resources=ON_CPU)]),
    ],
)
def test_a_pool_suits_the_nodes(nodes: list[Any], stages: list[StageConfig], expected: list[Pool]) -> None:
    assert plan_pools(Nodes(nodes), stages) == expected


@pytest.mark.parametrize(
    ("nodes", "stages", "expected"),
    [
        ([{"CPU": 4.0}], [stage(), stage()], [Pool(1, 1, 0), Pool(1, 1, 0)]),
        ([{"CPU": 12.0}], [stage(), stage()], [Pool(1, 4, 0), Pool(1, 4, 0)]),
        ([{"CPU": 4.0}], [stage(actors=1), stage(actors=1)], [Pool(1, 1, 0), Pool(1, 1, 0)]),
        ([{"CPU": 64.0}], [stage(), stage()], [Pool(4, 7, 0), Pool(4, 7, 0)]),
        ([GPU_NODE], [stage(), stage()], [Pool(4, 1, 0.5), Pool(4, 1, 0.5)]),
        ([GPU_NODE], [stage(), stage(), stage()], [Pool(4, 1, 0.3333)] * 3),
        ([GPU_NODE], [stage("cpu"), stage("cuda")], [Pool(2, 4, 0), Pool(4, 1, 1)]),
        ([GPU_NODE], [stage(gpus=1, actors=1), stage(gpus=1, actors=3)], [Pool(1, 1, 1), Pool(3, 1, 1)]),
        ([GPU_NODE], [stage(gpus=0, actors=2), stage()], [Pool(2, 4, 0), Pool(4, 1, 1)]),
        ([GPU_NODE], [stage(gpus=0.2), stage(gpus=0.8, actors="1:4")], [Pool(4, 1, 0.2), Pool(1, 1, 0.8, max_size=4)]),
        ([{"CPU": 4.0}] * 2, [stage(), stage()], [Pool(1, 2, 0), Pool(1, 2, 0)]),  # an actor fits on one node
        (
            [H100, L4],
            [stage(accelerator_type="L4", gpus=1), stage(gpus=1, actors=4)],  # L4 first: few nodes have one
            [Pool(1, 1, 1, resources=ON_L4), Pool(4, 1, 1)],
        ),
    ],
)
def test_pools_share_the_nodes(nodes: list[Any], stages: list[StageConfig], expected: list[Pool]) -> None:
    assert plan_pools(Nodes(nodes), stages) == expected


@pytest.mark.parametrize(
    ("nodes", "stages", "complaint"),
    [
        ([GPU_NODE], [stage(actors=6)], "6 actors requested, room for 4: 6 GPUs needed, the cluster has 4"),
        ([GPU_NODE], [stage(actors="6:9")], "6 actors requested, room for 4: 6 GPUs needed, the cluster has 4"),
        ([{"CPU": 4.0}], [stage("cuda")], "1 actor requested, room for 0: 1 GPU needed, the cluster has 0"),
        ([{"CPU": 4.0}], [stage(actors=4)], "room for 3: 5 CPUs needed, one of them for reading, the cluster has 4"),
        ([LOW], [stage()], "room for 0: 2 CPUs needed, one of them for reading, the cluster has 1"),
        ([LOW] * 2, [stage(actors=3)], "3 GPUs needed, the cluster has 2; 4 CPUs needed, .* has 2"),
        ([{"CPU": 1.0, "GPU": 4.0}, CPU_NODE], [stage(actors=4)], "room for 1: each actor must fit on one node"),
        ([GPU_NODE], [stage(gpus=0.6, actors=5)], "room for 4: each actor must fit on one node"),  # one on each GPU
        ([], [stage()], "1 actor requested, room for 0: 2 CPUs needed, .* the cluster has 0"),
        (
            [{"CPU": 3.0}],
            [stage(), stage()],
            "no room for 2 stages with 1 actor with 1 CPU and 1 actor with 1 CPU: 4 CPUs needed, 2 of them for reading",
        ),
        ([GPU_NODE], [stage(gpus=1), stage(gpus=1)], "8 GPUs needed, the cluster has 4"),
        ([{"CPU": 9.0}], [stage("cuda"), stage("cpu")], "1 GPU needed, the cluster has 0"),
        ([H100], [stage(accelerator_type="L4")], "no node has 1 CPU, 1 GPU and 0.001 accelerator_type:L4 for an actor"),
        ([H100, L4], [stage(accelerator_type="L4", actors=2)], "2 GPUs needed, its nodes with accelerator_type:L4 hav"),
        ([GPU_NODE], [stage("cuda:1", gpus=0)], "device cuda:1 takes a GPU, got 0 GPUs for each actor"),
    ],
)
def test_pools_that_have_no_place_are_refused_with_what_is_missing(
    nodes: list[Any], stages: list[StageConfig], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        plan_pools(Nodes(nodes), stages)


def test_tasks_that_prepare_have_room_where_they_must_run() -> None:
    assert plan_pools(Nodes([LOW, CPU_NODE]), [stage()], prepare=ON_CPU) == [Pool(1, 1, 1)]
    with pytest.raises(ConfigError, match=r"no node has 1 CPU and 0.001 cpu_node for a task that prepares"):
        plan_pools(Nodes([GPU_NODE]), [stage()], prepare=ON_CPU)


@pytest.mark.parametrize(
    ("nodes", "startable", "stages", "expected"),
    [
        ([], [SMALL] * 8, [stage()], [Pool(1, 1, 1, max_size=8)]),
        ([SMALL], [SMALL] * 7, [stage()], [Pool(1, 1, 1, max_size=8)]),
        ([SMALL] * 2, [SMALL] * 6, [stage(actors=8)], [Pool(2, 1, 1, max_size=8)]),
        ([SMALL] * 2, [SMALL] * 6, [stage(actors="3:5")], [Pool(2, 1, 1, max_size=5)]),
        ([SMALL] * 2, [SMALL], [stage(actors=2)], [Pool(2, 1, 1)]),  # what fits does not grow
        ([], [{"CPU": 16.0}] * 2, [stage()], [Pool(1, 7, 0, max_size=4)]),
        ([], [SMALL] * 4, [stage(), stage()], [Pool(1, 1, 0.5, max_size=4)] * 2),
        ([], [], [stage("cuda", actors=4)], [Pool(1, 1, 1, max_size=4)]),  # not known what it starts
        ([{"CPU": 0.0}], [], [stage(gpus=0)], [Pool(1, 1, 0)]),
        ([SMALL] * 2, [], [stage(actors=4)], [Pool(2, 1, 1, max_size=4)]),
        ([SMALL] * 2, [], [stage()], [Pool(2, 1, 1)]),
        ([], [], [stage(accelerator_type="L4", actors="1:4")], [Pool(1, 1, 1, max_size=4, resources=ON_L4)]),
    ],
)
def test_where_an_autoscaler_may_start_nodes_a_pool_begins_small(
    nodes: list[Any], startable: list[Any], stages: list[StageConfig], expected: list[Pool]
) -> None:
    assert plan_pools(Nodes(nodes, startable, has_autoscaler=True), stages) == expected


@pytest.mark.parametrize(
    ("startable", "stages", "complaint"),
    [
        ([SMALL] * 8, [stage(actors=9)], "9 actors requested, room for 8: 9 GPUs needed, .* its autoscaler may start"),
        ([], [stage()], "the autoscaler does not tell which nodes it may start: say --gpus-per-actor 1"),
        ([{"CPU": 8.0}], [stage("cuda")], "1 GPU needed, the cluster has 0 .* its autoscaler may start"),
    ],
)
def test_what_an_autoscaler_cannot_start_is_refused(
    startable: list[Any], stages: list[StageConfig], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        plan_pools(Nodes([{"CPU": 0.0}], startable, has_autoscaler=True), stages)


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (Pool(1, 2, 0), "1 actor with 2 CPUs"),
        (Pool(1, 1, 1), "1 actor with 1 CPU and 1 GPU"),
        (Pool(8, 1, 1), "8 actors with 1 CPU and 1 GPU each"),
        (Pool(2, 7, 0), "2 actors with 7 CPUs each"),
        (Pool(1, 1, 0.5, 8, ON_L4), "1 to 8 actors with 1 CPU, 0.5 GPUs and 0.001 accelerator_type:L4 each"),
    ],
)
def test_a_pool_in_words(pool: Pool, said: str) -> None:
    assert str(pool) == said
