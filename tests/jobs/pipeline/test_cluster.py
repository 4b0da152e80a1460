"""Whether a pool fits on a cluster, counted on paper, and patience with a cluster that others use."""

import pytest
import ray

from jobs.pipeline.cluster import plan_pool, wait_for_room
from jobs.pipeline.dataset import Pool
from rerank.errors import ConfigError, UnavailableError

GPU_NODE = {"CPU": 16.0, "GPU": 4.0}
LOW = {"CPU": 1.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("nodes", "actors", "device", "expected"),
    [
        ([{"CPU": 4.0}], None, "auto", Pool(1, 2, 0)),
        ([{"CPU": 4.0}], 2, "cpu", Pool(2, 1, 0)),
        ([{"CPU": 2.0}], None, "auto", Pool(1, 1, 0)),
        ([GPU_NODE, GPU_NODE], None, "auto", Pool(8, 1, 1)),
        ([GPU_NODE, GPU_NODE], 3, "cuda", Pool(3, 1, 1)),
        ([LOW, {"CPU": 1.0}], None, "auto", Pool(1, 1, 1)),
        ([{"CPU": 8.0}] * 2, None, "auto", Pool(2, 7, 0)),
        ([{"CPU": 4.0}] * 4, None, "auto", Pool(2, 4, 0)),  # as many CPUs as a node has, not those of the sum
        ([GPU_NODE], None, "cpu", Pool(2, 7, 0)),
    ],
)
def test_the_pool_suits_the_nodes(nodes, actors, device, expected):
    assert plan_pool(nodes, actors=actors, device=device) == expected


@pytest.mark.parametrize(
    ("nodes", "actors", "device", "complaint"),
    [
        ([GPU_NODE], 6, "auto", "6 actors requested, room for 4: 6 GPUs needed, the cluster has 4"),
        ([{"CPU": 4.0}], None, "cuda", "1 actor requested, room for 0: 1 GPU needed, the cluster has 0"),
        ([{"CPU": 4.0}], 4, "auto", "room for 3: 5 CPUs needed, one of them for reading, the cluster has 4"),
        ([LOW], None, "auto", "room for 0: 2 CPUs needed, one of them for reading, the cluster has 1"),
        (
            [LOW] * 2,
            3,
            "auto",
            "3 GPUs needed, the cluster has 2; 4 CPUs needed, .* has 2",
        ),
        (
            [{"CPU": 1.0, "GPU": 4.0}, {"CPU": 8.0}],
            4,
            "auto",
            "room for 1: each actor must fit on one node",
        ),
        ([], None, "auto", "1 actor requested, room for 0: 2 CPUs needed, .* the cluster has 0"),
    ],
)
def test_a_pool_that_has_no_place_is_refused_with_what_is_missing(nodes, actors, device, complaint):
    with pytest.raises(ConfigError, match=complaint):
        plan_pool(nodes, actors=actors, device=device)


def test_a_cluster_that_others_use_is_waited_for_and_then_given_up(monkeypatch):
    free = iter([{"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}])
    monkeypatch.setattr(ray, "available_resources", lambda: next(free))
    wait_for_room(Pool(4, 1, 1), patience_s=60)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 8.0})
    with pytest.raises(UnavailableError, match="one actor and a task that reads need 1 GPU, 0 free"):
        wait_for_room(Pool(4, 1, 1), patience_s=0)


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (Pool(1, 2, 0), "1 actor with 2 CPUs"),
        (Pool(1, 1, 1), "1 actor with 1 CPU and 1 GPU"),
        (Pool(8, 1, 1), "8 actors with 1 CPU and 1 GPU each"),
        (Pool(2, 7, 0), "2 actors with 7 CPUs each"),
    ],
)
def test_a_pool_in_words(pool, said):
    assert str(pool) == said
