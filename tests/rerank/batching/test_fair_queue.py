"""Whose pairs are scored next: everybody's once, the first request's always, and about as many tokens of each."""

import asyncio
from collections import deque

from hypothesis import example, given
from hypothesis import strategies as st

from rerank.batching import fair_queue as turns
from rerank.batching.fair_queue import QueuedRequest, next_batch
from rerank.types import RerankRequest
from tests.rerank.batching.requests import encode


def waiting(name: int, lengths: list[int]) -> QueuedRequest:
    """A request whose pairs have these tokens, the query's one included."""
    return QueuedRequest.of(encode(RerankRequest("query", tuple(f"{name} {tokens - 1}" for tokens in lengths))))


def turns_of(requests: list[list[int]], budget: int) -> list[list[tuple[int, int]]]:
    """(request, tokens of a pair) of each turn until nothing waits."""

    async def take() -> list[list[tuple[int, int]]]:
        all_of_them = [waiting(name, lengths) for name, lengths in enumerate(requests)]
        queue, taken, seen = deque(all_of_them), [], [set() for _ in requests]
        while queue:
            first, behind = queue[0], list(queue)[1:]
            turn = next_batch(queue, budget)
            assert turn[0][0] is first and len({id(who) for who, _ in turn}) == len(turn)
            passed = [who for who in behind if not any(who is served for served, _ in turn)]
            assert list(queue)[: len(passed)] == passed, "who was not served stays in front"
            for who, rows in turn:
                assert not seen[all_of_them.index(who)] & set(rows.tolist())
                seen[all_of_them.index(who)] |= set(rows.tolist())
            taken.append([(all_of_them.index(who), int(n)) for who, rows in turn for n in who.pairs.lengths[rows]])
        assert [len(rows) for rows in seen] == [len(lengths) for lengths in requests]
        return taken

    return asyncio.run(take())


@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=20), min_size=1, max_size=8), st.integers(1, 300))
@example([[1]], 1)
@example([[60, 1], [60, 1], [60, 1]], 61)
def test_every_pair_has_one_turn_and_no_turn_is_too_long(requests, budget):
    for turn in turns_of(requests, budget):
        assert len(turn) == 1 or sum(tokens for _, tokens in turn) <= budget


def test_a_small_request_is_taken_whole_whatever_its_lengths():
    first = turns_of([[100] * 50, [20, 50, 7]], 400)[0]
    assert sorted(tokens for name, tokens in first if name == 1) == [7, 20, 50]


def test_a_turn_is_shared_out_evenly():
    first = turns_of([[10] * 60, [20] * 30, [30] * 20], 300)[0]
    assert [sum(tokens for name, tokens in first if name == request) for request in range(3)] == [110, 100, 90]


def test_a_turn_looks_at_so_many_requests_at_most(monkeypatch):
    monkeypatch.setattr(turns, "_MOST_ASKED", 3)
    asked = [{name for name, _ in turn} for turn in turns_of([[10] * 4] * 7, 30)]
    assert asked[:2] == [{0, 1, 2}, {3, 4, 5}]
