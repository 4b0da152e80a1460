"""Replicas that are killed, broken, replaced, added and taken away under load: what clients see of it."""

from collections.abc import Iterator

import httpx
import pytest
import ray
from ray import serve as ray_serve

from tests.processes import sigterm_kept
from tests.serve.churn import NAME, asking, kill, replicas, running, scores_of, wait_for
from tests.serve.replicas import BREAK, OTHER_STAND_IN, STAND_IN, build

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

TEXTS = ["Sockets are end points of a connection.", "dict.copy() returns a shallow copy.", "Threads share memory."]
BODIES = [{"query": f"copy a dictionary {row}", "documents": TEXTS[: row % 3 + 1] * (row + 1)} for row in range(5)]
ELASTIC = [{**body, "model": "elastic"} for body in BODIES]
SMALL = {"model": STAND_IN, "num_cpus": 0.1}
LIMITS = {"timeout_s": 180}  # for machines on which a replica takes long to start
ARGUMENTS = {
    "limits": LIMITS,
    "models": [
        {"name": "steady", **SMALL, "min_replicas": 2, "max_replicas": 2},
        {
            "name": "elastic",
            **SMALL,
            "max_replicas": 3,
            "target_ongoing_requests": 1,
            "upscale_delay_s": 1,
            "downscale_delay_s": 1,
        },
    ],
}


@pytest.fixture(scope="module")
def http(server, ray_address) -> Iterator[httpx.Client]:
    """A client of an application of its own, beside the other on the server that all tests share."""
    with sigterm_kept():
        ray.init(ray_address, log_to_driver=False, logging_level="ERROR")
    try:
        ray_serve.run(build(ARGUMENTS), name=NAME, route_prefix=f"/{NAME}")
        with httpx.Client(base_url=f"{server.base_url}/{NAME}", headers=server.headers, timeout=200) as client:
            yield client
        ray_serve.delete(NAME, _blocking=False)
    finally:
        ray.shutdown()


def test_nobody_notices_that_a_replica_was_killed(http):
    before = running("steady")
    with asking(http, BODIES, clients=4) as answers:
        answers.wait_for_more(10)
        kill(min(before))
        wait_for(lambda: len(running("steady") - {min(before)}) == 2)
        answers.wait_for_more(10)
    assert set(answers.statuses) == {200}


def test_a_replica_whose_engine_is_lost_is_replaced(http, tmp_path):
    before = running("steady")
    with asking(http, BODIES, clients=2):
        http.post("/v1/rerank", json={"query": f"{BREAK}{tmp_path / 'lost'}", "documents": TEXTS})
        wait_for(lambda: len(running("steady")) == 2 and running("steady") != before)
    assert len(running("steady") & before) == 1
    with asking(http, BODIES, clients=2) as after:
        after.wait_for_more(10)
    assert set(after.statuses) == {200}


def test_replicas_come_with_load_and_go_without_it(http):
    """Six clients have more than two requests under way, however slow the machine, and one has never more than one."""
    timeline = []

    def reached(count):
        timeline.append(len(replicas("elastic")))
        return len(running("elastic")) == count == timeline[-1]

    assert reached(1)
    with asking(http, ELASTIC, clients=6) as answers:
        wait_for(lambda: reached(3))
    with asking(http, ELASTIC, clients=1) as fewer:
        wait_for(lambda: reached(1))
    assert set(answers.statuses) == set(fewer.statuses) == {200}
    assert max(timeline) == 3


def test_a_redeploy_with_another_model_and_setting_fails_no_request(http):
    """One name gets another model: each answer is wholly that of the old model or of the new one."""
    before = running("steady") | running("elastic")
    steady_model, elastic_model = ARGUMENTS["models"]
    models = [{**steady_model, "model": OTHER_STAND_IN}, elastic_model]
    limits = {**LIMITS, "documents": 20}
    with asking(http, BODIES, clients=1) as steady, asking(http, ELASTIC, clients=1) as elastic:
        steady.model_may_change = True
        ray_serve.run(build({"models": models, "limits": limits}), name=NAME, route_prefix=f"/{NAME}")
        steady.wait_for_more(5)
        elastic.wait_for_more(5)
    assert set(steady.statuses) == set(elastic.statuses) == {200}
    of_new_model = [scores_of(http.post("/v1/rerank", json=body)) for body in BODIES]
    assert steady.changed
    for row, scores in steady.changed:
        assert scores == pytest.approx(of_new_model[row], abs=1e-5)
    assert not before & (running("steady") | running("elastic"))
    refused = http.post("/v1/rerank", json={**BODIES[0], "documents": TEXTS * 7})
    assert refused.json()["message"] == "documents must hold at most 20 entries, got 21"
