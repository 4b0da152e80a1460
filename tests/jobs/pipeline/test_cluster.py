"""Whether a cluster lets us in, whether a pool fits on it, counted on paper, and patience where others use it."""

import pytest
import ray
from ray.exceptions import AuthenticationError, RpcError

from jobs.pipeline import cluster
from jobs.pipeline.cluster import connect, plan_pool, wait_for_room
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


@pytest.mark.parametrize(
    ("answer", "has_mode", "complaint"),
    [
        (AuthenticationError("no"), False, "cluster at 'head:1' asks for a token: set RAY_AUTH_MODE=token and put "),
        (
            AuthenticationError("no"),
            True,
            "cluster at 'head:1' refuses this token: put the token that `ray",
        ),
        (RpcError("Timed out."), True, "no Ray cluster answers at 'head:1': Timed out$"),
        (ValueError("Invalid"), True, "address of a Ray cluster must be HOST:PORT, got 'head:1'"),
    ],
)
def test_a_cluster_that_cannot_be_joined_says_what_to_set(monkeypatch, answer, has_mode, complaint):
    def ask(*, address: str) -> None:
        raise answer

    monkeypatch.setattr(cluster, "GcsClient", ask)
    monkeypatch.setattr(cluster, "ensure_token_if_auth_enabled", lambda *, create_token_if_missing: None)
    monkeypatch.setattr(cluster, "is_token_auth_enabled", lambda: has_mode)
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("the cluster was not asked before"))
    with pytest.raises(ConfigError, match=complaint):
        connect(address="head:1", verbose=True)
