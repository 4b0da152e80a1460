"""Ray Data runs on a cluster of our own without its actors, and has them where it has them elsewhere."""

import pickle
import sys
from types import SimpleNamespace

import pytest
import ray

from jobs.pipeline.own_cluster.data_actors import StandIn, no_data_actors
from jobs.pipeline.own_cluster.replaced import replaced
from tests.processes import completed

_ON_A_CLUSTER_OF_ITS_OWN = """
import ray
from jobs.pipeline.cluster import connect, disconnect, start_ray_data
from jobs.pipeline.own_cluster.data_actors import no_data_actors

class Add:
    def __call__(self, row):
        return {"id": row["id"] + 1}

def run():
    total = ray.data.range(4).map(Add, compute=ray.data.ActorPoolStrategy(size=1)).sum("id")
    print(total, sorted(actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)))

connect(address="local", verbose=False)
with no_data_actors():
    start_ray_data()
    run()
run()
disconnect()
"""


@pytest.mark.ray
def test_data_runs_without_its_actors_and_gets_them_back() -> None:
    done = completed([sys.executable, "-c", _ON_A_CLUSTER_OF_ITS_OWN], timeout=120)
    assert done.stdout.splitlines() == [
        "10 []",
        "10 ['ActorLocationTracker', 'AutoscalingCoordinator', 'datasets_stats_actor']",
    ], done.stderr


@pytest.mark.ray
@pytest.mark.usefixtures("shared_driver")
def test_a_stand_in_answers_what_is_asked_and_ignores_what_it_is_told() -> None:
    stand_in = StandIn({"node": {"CPU": 4.0}})
    handle = stand_in.options(name="any", get_if_exists=True).remote()
    assert ray.get(handle.get_reserved_resources.remote("job")) == {"node": {"CPU": 4.0}}
    assert ray.get(handle.get_actor_locations.remote(("a", "b"))) == {}
    ids = {ray.get(handle.gen_dataset_id.remote()) for _ in range(2)}
    assert len(ids) == 2
    assert handle.request_resources.remote(resources=[], expire_after_s=180) is None
    in_a_worker = pickle.loads(pickle.dumps(stand_in))
    assert in_a_worker.update_actor_location.remote("actor", "node") is None


def test_what_is_not_there_is_not_replaced() -> None:
    owner = SimpleNamespace(there=1)
    with replaced(owner, "there", 2), replaced(owner, "missing", 2):
        assert vars(owner) == {"there": 2}
    assert vars(owner) == {"there": 1}
    with pytest.raises(RuntimeError), replaced(owner, "there", 2):
        raise RuntimeError
    assert vars(owner) == {"there": 1}


def test_nothing_is_left_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.data._internal import stats

    original = stats.get_or_create_stats_actor
    monkeypatch.setattr(ray, "nodes", list)
    with pytest.raises(RuntimeError), no_data_actors():
        assert stats.get_or_create_stats_actor() is not original
        raise RuntimeError
    assert stats.get_or_create_stats_actor is original


def test_a_ray_that_lacks_a_module_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.data._internal.execution.node_trackers import actor_location

    original = actor_location.ActorLocationTracker
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setitem(sys.modules, "ray.data._internal.stats", None)  # importing it fails
    with no_data_actors():
        assert actor_location.ActorLocationTracker is not original
    assert actor_location.ActorLocationTracker is original
