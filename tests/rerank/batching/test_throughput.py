"""How long a turn is: what the engine does in a moment, more where many wait, and never what it takes seconds for."""

import pytest

from rerank.batching.throughput import ThroughputEstimate


def after(
    turns: int, *, seconds: float, tokens: int | None = None, pace: ThroughputEstimate | None = None
) -> ThroughputEstimate:
    """A pace that has seen so many full turns of so many seconds."""
    pace = pace or ThroughputEstimate(None)
    for _ in range(turns):
        pace.update(10, tokens or pace.budget(1), seconds, lanes=1)
    return pace


def test_a_turn_doubles_or_halves_until_it_takes_a_moment():
    assert ThroughputEstimate(None).budget(1) == 4_096
    assert [after(turns, seconds=0.2).budget(1) for turns in (1, 2, 3, 9)] == [2_048, 1_024, 512, 512]
    assert [after(turns, seconds=0.01).budget(1) for turns in (1, 2, 30)] == [8_192, 16_384, 262_144]
    assert [after(9, seconds=seconds).budget(1) for seconds in (0.026, 0.05, 0.099)] == [4_096] * 3


def test_a_turn_that_was_not_full_says_nothing():
    assert after(9, seconds=0.001, tokens=2_047).budget(1) == 4_096


def test_a_longer_turn_may_take_longer():
    slow = after(9, seconds=0.2)
    assert after(1, seconds=0.2, tokens=2_048, pace=slow).budget(1) == 512  # four budgets in four moments


@pytest.mark.parametrize(("requests", "tokens"), [(1, 512), (2, 512), (4, 1_536), (9, 4_096), (100, 4_096)])
def test_a_short_turn_grows_with_those_who_wait(requests, tokens):
    assert after(9, seconds=0.2).budget(requests) == tokens


def test_a_turn_of_a_faster_engine_grows_further():
    faster = after(2, seconds=0.2)
    assert [faster.budget(requests) for requests in (1, 4, 9, 100)] == [1_024, 3_072, 8_192, 8_192]


def test_a_turn_that_is_long_anyway_does_not_grow():
    assert {after(1, seconds=0.01).budget(requests) for requests in (1, 2, 100)} == {8_192}


def test_a_given_turn_stays_as_it_is():
    pace = after(9, seconds=0.001, pace=ThroughputEstimate(700))
    assert {pace.budget(requests) for requests in (1, 2, 100)} == {700}


def test_the_rate_is_that_of_all_lanes_and_follows_slowly():
    pace = ThroughputEstimate(None)
    pace.update(10, 100, 0.1, lanes=2)
    assert pace.pairs_per_second == pytest.approx(200)
    pace.update(10, 100, 0.1, lanes=1)
    assert pace.pairs_per_second == pytest.approx(180)
