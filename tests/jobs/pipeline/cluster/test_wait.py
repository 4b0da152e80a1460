"""Patience for resources that others use, and for nodes that are still to come. Asks no cluster."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.pipeline.cluster import wait
from jobs.pipeline.cluster.wait import fit_pools, wait_for_room
from jobs.pipeline.stages.pool import Pool
from rerank.errors import UnavailableError

POOL = Pool(4, 1, 1)
ROOM = [{"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0}]


class Group:
    """A placement group that is ready when it is asked for the third time, or never."""

    def __init__(self, *, comes: bool) -> None:
        self.comes, self.asked, self.is_removed = comes, 0, False
        self.bundles: list[dict[str, float]] = []

    def wait(self, timeout_s: float) -> bool:
        self.asked += 1
        return self.comes and self.asked == 3


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Group]:
    """Pretend that this is free on the nodes, and return the placement group that a wait would make."""

    def pretend(free: list[dict[str, float]], *, comes: bool = False) -> Group:
        group = Group(comes=comes)

        def make(bundles: Any, strategy: str) -> Group:
            group.bundles = bundles
            return group

        monkeypatch.setattr(wait, "available_resources_per_node", lambda: dict(enumerate(free)))
        monkeypatch.setattr(wait, "placement_group", make)
        monkeypatch.setattr(wait, "remove_placement_group", lambda made: setattr(made, "is_removed", True))
        return group

    return pretend


def test_there_is_no_wait_where_there_is_room(cluster: Callable[..., Group]) -> None:
    group = cluster(ROOM)
    assert not wait_for_room([POOL], prepare={}, patience_s=0)
    assert not group.asked


@pytest.mark.parametrize(
    ("free", "pools", "prepare", "bundles"),
    [
        ([{"CPU": 8.0}], [POOL], {}, [{"CPU": 1, "GPU": 1}, {"CPU": 1.0}]),
        ([{"CPU": 0.0, "GPU": 1.0}, {"CPU": 2.0}], [POOL], {}, [{"CPU": 1, "GPU": 1}, {"CPU": 1.0}]),  # not on one node
        (ROOM, [POOL], {"cpu_node": 0.001}, [{"CPU": 1, "GPU": 1}, {"CPU": 1.0, "cpu_node": 0.001}]),
        (ROOM, [POOL, Pool(1, 2, 0)], {}, [{"CPU": 1, "GPU": 1}, {"CPU": 2}, {"CPU": 1.0}, {"CPU": 1.0}]),
    ],
)
def test_room_is_waited_for(
    cluster: Callable[..., Group], free: Any, pools: list[Pool], prepare: dict[str, float], bundles: list[Any]
) -> None:
    group = cluster(free, comes=True)
    assert wait_for_room(pools, prepare=prepare, patience_s=60)
    assert (group.bundles, group.asked, group.is_removed) == (bundles, 3, True)


@pytest.mark.parametrize(
    ("has_autoscaler", "blame"),
    [(False, "the cluster is in use within"), (True, "the autoscaler started no suitable node within")],
)
def test_a_wait_ends_and_says_what_it_was_for(
    cluster: Callable[..., Group], capsys: pytest.CaptureFixture[str], has_autoscaler: bool, blame: str
) -> None:
    group = cluster([{"CPU": 3.0}])
    needed = "one actor and the tasks that feed it need room for 1 CPU and 1 GPU, 1 CPU; 3 CPUs and 0 GPUs are free"
    with pytest.raises(UnavailableError) as refused:
        wait_for_room([POOL], prepare={}, patience_s=0, has_autoscaler=has_autoscaler)
    assert str(refused.value) == f"{blame} 0 seconds: {needed}"
    assert needed in capsys.readouterr().err
    assert group.is_removed


@pytest.mark.parametrize(
    ("free", "pools", "fitting"),
    [
        ([{"CPU": 4.0}], [Pool(3, 1, 0)], [Pool(3, 1, 0)]),
        ([{"CPU": 3.0}], [Pool(3, 1, 0)], [Pool(2, 1, 0)]),
        ([{"CPU": 3.0}], [Pool(3, 1, 0, max_size=8)], [Pool(2, 1, 0)]),  # it would grow onto the last CPU
        ([{"CPU": 2.0, "GPU": 1.0}, {"CPU": 8.0}], [Pool(4, 1, 0.5)], [Pool(2, 1, 0.5)]),
        ([{"CPU": 4.0}], [Pool(2, 1, 0), Pool(1, 1, 0)], [Pool(1, 1, 0), Pool(1, 1, 0)]),
    ],
)
def test_a_pool_leaves_room_for_the_tasks_that_feed_it(
    cluster: Callable[..., Group],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    free: Any,
    pools: list[Pool],
    fitting: list[Pool],
) -> None:
    """More actors than others leave room for would take the CPU that reading needs, and nothing would go on."""
    cluster(free)
    monkeypatch.setattr(wait, "_RELEASE_S", 0.0)
    assert fit_pools(pools, prepare={}) == fitting
    assert ("others use the cluster" in capsys.readouterr().err) == (fitting != pools)


def test_a_pool_waits_a_moment_for_what_the_job_before_it_held(
    cluster: Callable[..., Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([[{"CPU": 1.0}], [{"CPU": 3.0}]])
    cluster([])
    monkeypatch.setattr(wait, "available_resources_per_node", lambda: dict(enumerate(next(looks))))
    assert fit_pools([Pool(2, 1, 0)], prepare={}) == [Pool(2, 1, 0)]
