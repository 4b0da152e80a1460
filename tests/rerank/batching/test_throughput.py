"""The token budget of a batch: what the engine does in 50 ms, more if many requests are queued."""

import pytest

from rerank.batching.throughput import ThroughputEstimate


def after(
    batches: int, *, seconds: float, tokens: int | None = None, throughput: ThroughputEstimate | None = None
) -> ThroughputEstimate:
    """An estimate after this many full batches of this many seconds."""
    throughput = throughput or ThroughputEstimate(None)
    for _ in range(batches):
        throughput.update(10, tokens or throughput.budget(1), seconds, lanes=1)
    return throughput


def test_a_batch_doubles_or_halves_until_it_takes_a_moment():
    assert ThroughputEstimate(None).budget(1) == 4_096
    assert [after(batches, seconds=0.2).budget(1) for batches in (1, 2, 3, 9)] == [2_048, 1_024, 512, 512]
    assert [after(batches, seconds=0.01).budget(1) for batches in (1, 2, 30)] == [8_192, 16_384, 262_144]
    assert [after(9, seconds=seconds).budget(1) for seconds in (0.026, 0.05, 0.099)] == [4_096] * 3


def test_a_batch_that_was_not_full_says_nothing():
    assert after(9, seconds=0.001, tokens=2_047).budget(1) == 4_096


def test_a_longer_batch_may_take_longer():
    slow = after(9, seconds=0.2)
    assert after(1, seconds=0.2, tokens=2_048, throughput=slow).budget(1) == 512  # four budgets in four moments


@pytest.mark.parametrize(("requests", "tokens"), [(1, 512), (2, 512), (4, 1_536), (9, 4_096), (100, 4_096)])
def test_a_small_budget_grows_with_the_queued_requests(requests, tokens):
    assert after(9, seconds=0.2).budget(requests) == tokens


def test_a_batch_of_a_faster_engine_grows_further():
    faster = after(2, seconds=0.2)
    assert [faster.budget(requests) for requests in (1, 4, 9, 100)] == [1_024, 3_072, 8_192, 8_192]


def test_a_batch_that_is_long_anyway_does_not_grow():
    assert {after(1, seconds=0.01).budget(requests) for requests in (1, 2, 100)} == {8_192}


def test_a_fixed_budget_does_not_adapt():
    throughput = after(9, seconds=0.001, throughput=ThroughputEstimate(700))
    assert {throughput.budget(requests) for requests in (1, 2, 100)} == {700}


def test_the_rate_is_that_of_all_lanes_and_follows_slowly():
    throughput = ThroughputEstimate(None)
    throughput.update(10, 100, 0.1, lanes=2)
    assert throughput.pairs_per_second == pytest.approx(200)
    throughput.update(10, 100, 0.1, lanes=1)
    assert throughput.pairs_per_second == pytest.approx(180)
