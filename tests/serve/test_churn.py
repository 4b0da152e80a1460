"""Replicas that are killed, broken, replaced, added and taken away under load: what clients see of it."""

import httpx
import pytest
from ray import cloudpickle

import serve.app
import tests.serve.churn as churn
from tests.serve.churn import BREAK, Breakable, asking, kill, replicas, running, wait_for
from tests.serve.standins import served

pytestmark = pytest.mark.ray

TEXTS = ["Sockets are end points of a connection.", "dict.copy() returns a shallow copy.", "Threads share memory."]
BODIES = [{"query": f"copy a dictionary {row}", "documents": TEXTS[: row % 3 + 1] * (row + 1)} for row in range(5)]
ELASTIC = [{**body, "model": "elastic"} for body in BODIES]
ARGUMENTS = {
    "models": [
        {"name": "steady", "dtype": "float32", "threads": 1, "num_cpus": 0.5, "min_replicas": 2, "max_replicas": 2},
        {
            "name": "elastic",
            "dtype": "float32",
            "threads": 1,
            "num_cpus": 0.5,
            "max_replicas": 3,
            "target_ongoing_requests": 1,
            "upscale_delay_s": 1,
            "downscale_delay_s": 1,
        },
    ]
}


@pytest.fixture(scope="module")
def http():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve.app, "RerankActor", Breakable)
        patch.setattr(serve.app, "_LOOK_BACK_S", (3, 30))  # requests are counted every second here
        cloudpickle.register_pickle_by_value(churn)  # replicas cannot import it
        with served(ARGUMENTS, RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S="1") as url:
            yield httpx.Client(base_url=url, timeout=60)


def test_nobody_notices_that_a_replica_was_killed(http):
    before = running("steady")
    with asking(http, BODIES, clients=4) as answers:
        answers.wait_for_more(40)
        kill(min(before))
        wait_for(lambda: len(running("steady") - {min(before)}) == 2)
    assert set(answers.statuses) == {200}
    assert answers.statuses[200] > 100


def test_a_replica_whose_engine_is_lost_is_replaced(http, tmp_path):
    before = running("steady")
    with asking(http, BODIES, clients=2):
        http.post("/v1/rerank", json={"query": f"{BREAK}{tmp_path / 'lost'}", "documents": TEXTS})
        wait_for(lambda: len(running("steady")) == 2 and running("steady") != before)
    assert len(running("steady") & before) == 1
    with asking(http, BODIES, clients=2) as after:
        after.wait_for_more(40)
    assert set(after.statuses) == {200}


def test_replicas_come_with_load_and_go_without_it(http):
    timeline = []

    def reached(count):
        timeline.append(len(replicas("elastic")))
        return len(running("elastic")) == count == timeline[-1]

    assert reached(1)
    with asking(http, ELASTIC, clients=8) as answers:
        wait_for(lambda: reached(3))
    with asking(http, ELASTIC, clients=1) as fewer:
        wait_for(lambda: reached(1))
    assert set(answers.statuses) == set(fewer.statuses) == {200}
    assert max(timeline) == 3


def test_a_redeploy_with_another_setting_fails_no_request(http):
    from ray import serve as ray_serve

    before = running("steady") | running("elastic")
    with asking(http, BODIES + ELASTIC, clients=4) as answers:
        answers.wait_for_more(40)
        ray_serve.run(serve.app.build({**ARGUMENTS, "limits": {"documents": 20}}))
        answers.wait_for_more(40)
    assert set(answers.statuses) == {200}
    assert not before & (running("steady") | running("elastic"))
    refused = http.post("/v1/rerank", json={**BODIES[0], "documents": TEXTS * 7})
    assert refused.json()["message"] == "documents must hold at most 20 entries, got 21"
