"""Counts of a run while it runs: a block counts once, whatever becomes of those who rank it."""

import pytest
from ray.util.metrics import Metric

from jobs.pipeline import counts
from jobs.pipeline.counts import PEAK, CountsActor, block_digest
from rerank import Reranker
from tests.fakes import ListedEngine, candidate_sets


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test may set."""
    now = [100.0]
    monkeypatch.setattr(counts, "monotonic", lambda: now[0])
    return now


def test_a_block_that_is_ranked_again_counts_once() -> None:
    actor = CountsActor()
    for worker, block in (("a", "1"), ("b", "2"), ("b", "1"), ("a", "2")):
        actor.add_block(worker, block, {"pairs_ranked": 90, "pairs_rejected": 10, "queries_without_candidates": 1})
    reported = actor.counts()
    assert (reported.done, reported.rejected) == (202, 20)
    assert reported.sums["pairs_ranked"] == 180


def test_actors_count_by_stage() -> None:
    actor = CountsActor()
    for worker, block, stage in (("a", "1", 1), ("b", "2", 1), ("a", "3", 1), ("c", "4", 2)):
        actor.add_block(worker, block, {"pairs_ranked": 1}, stage)
    assert actor.counts().actors == {1: 2, 2: 1}


def test_pairs_count_as_they_are_scored_and_once_with_their_block() -> None:
    actor = CountsActor()
    for pairs in (0, 25, 25):
        actor.add_scored("a", pairs)
    actor.add_scored("b", 0)
    assert actor.counts().done == 50
    actor.add_block("a", "1", {"pairs_ranked": 100})
    assert actor.counts().done == 100


def test_counts_and_progress_are_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: dict[str, list[tuple[float, dict[str, str]]]] = {}

    def record(metric: Metric, value: float, tags: dict[str, str]) -> None:
        recorded.setdefault(metric.info["name"], []).append((value, tags))

    monkeypatch.setattr(Metric, "_record", record)
    actor = CountsActor("0100")
    actor.expect(200)
    actor.add_block("a", "1", {"pairs_ranked": 90, "pairs_rejected": 0, "store_hits": 30, "pairs_scored": 60})
    actor.counts()
    job = {"job_id": "0100"}
    assert recorded == {
        "rerank_job_store_hits": [(30, job)],
        "rerank_job_pairs_scored": [(60, job)],
        "rerank_job_pairs_done": [(90, job)],
        "rerank_job_pairs_expected": [(200, job)],
    }


def test_a_worker_that_dies_begins_its_block_anew() -> None:
    actor = CountsActor()
    for pairs in (0, 25, 25, 0, 25):
        actor.add_scored("a", pairs)
    assert actor.counts().done == 25


def test_pairs_that_will_be_scored_again_are_taken_back() -> None:
    actor = CountsActor()
    for pairs in (0, 25, 25, -50, 2):
        actor.add_scored("a", pairs)
    assert actor.counts().done == 2


def test_scoring_begins_when_the_first_worker_has_its_model(clock: list[float]) -> None:
    actor = CountsActor()
    actor.add_block("a", "1", {"pairs_ranked": 7, "store_hits": 7})
    assert actor.counts().scoring_seconds is None
    clock[0] = 110
    actor.add_scored("a", 0)
    clock[0] = 112
    actor.add_scored("b", 0)
    actor.add_scored("a", 30)
    clock[0] = 115
    reported = actor.counts()
    assert (reported.scoring_seconds, reported.done_before_scoring, reported.done) == (5, 7, 37)


def test_sums_are_added_and_of_peaks_the_highest_is_kept() -> None:
    actor = CountsActor()
    actor.add({"read_seconds": 1.5, PEAK: 300})
    actor.add({"read_seconds": 2.0, PEAK: 200})
    assert actor.counts().sums == {"read_seconds": 3.5, PEAK: 300}


def test_blocks_are_told_apart_by_their_queries() -> None:
    reranker = Reranker(engine=ListedEngine([1.0]))
    blocks = [reranker.rank_table(candidate_sets([(query_id, "one", [("a", "x")])])) for query_id in ("q1", "q2", "q1")]
    first, second, again = map(block_digest, blocks)
    assert first == again != second
