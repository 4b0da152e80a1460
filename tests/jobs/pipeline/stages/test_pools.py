"""Pools for several stages at once, counted on paper."""

from typing import Any

import pytest

from jobs.pipeline.cluster import plan_pools
from jobs.pipeline.dataset import Pool
from jobs.pipeline.stages.settings import StageConfig
from rerank.config import ScorerConfig
from rerank.errors import ConfigError

GPU_NODE = {"CPU": 16.0, "GPU": 4.0}


def stage(device: str = "auto", **resources: Any) -> StageConfig:
    return StageConfig(scorer=ScorerConfig(device=device), **resources)


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
        ([{"CPU": 4.0}] * 2, [stage(), stage()], [Pool(1, 2, 0), Pool(1, 2, 0)]),  # an actor fits on one node
    ],
)
def test_pools_share_the_nodes(nodes: list[Any], stages: list[StageConfig], expected: list[Pool]) -> None:
    assert plan_pools(nodes, stages) == expected


@pytest.mark.parametrize(
    ("nodes", "stages", "complaint"),
    [
        ([{"CPU": 3.0}], [stage(), stage()], "2 stages with 1 actor with 1 CPU and 1 actor with 1 CPU need 4 CPUs"),
        ([GPU_NODE], [stage(gpus=1), stage(gpus=1)], "8 GPUs; the cluster has 16 and 4 on 1 node"),
        ([{"CPU": 9.0}], [stage("cuda"), stage("cpu")], "1 GPU; the cluster has 9 and 0 on 1 node"),
    ],
)
def test_pools_that_have_no_place_are_refused(nodes: list[Any], stages: list[StageConfig], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        plan_pools(nodes, stages)
