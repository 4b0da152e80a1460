"""Pools on CPUs may shrink where a lost node could leave no CPU to the tasks that prepare."""

from typing import Any

import pytest
import ray

from jobs.pipeline import dataset
from jobs.pipeline.stages.pool import Pool

NODE = {"Alive": True, "Resources": {"CPU": 4.0}}
DEAD, HEAD = NODE | {"Alive": False}, NODE | {"Resources": {}}


@pytest.mark.parametrize(
    ("nodes", "pool", "least"),
    [
        ([NODE, NODE], Pool(4, 1, 0), 1),
        ([NODE, NODE], Pool(4, 1, 1), 4),
        ([NODE, DEAD], Pool(4, 1, 0), 4),
        ([NODE, HEAD], Pool(4, 1, 0), 4),
        ([NODE, NODE], Pool(2, 1, 0, max_size=8), 1),
    ],
)
def test_a_pool_on_cpus_may_shrink_on_several_nodes(
    monkeypatch: pytest.MonkeyPatch, nodes: list[Any], pool: Pool, least: int
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert dataset._least_actors(pool) == least
