"""Batches of the fair queue: each pair once, the first request always, and about as many tokens of each request."""

import asyncio
from collections import deque

from hypothesis import example, given
from hypothesis import strategies as st

from rerank.batching import fair_queue
from rerank.batching.admission import AdmittedRequest
from rerank.batching.fair_queue import QueuedRequest, next_batch
from rerank.types import RerankRequest
from tests.rerank.batching.requests import encode


def queued_request(name: int, lengths: list[int]) -> QueuedRequest:
    """A request whose pairs have these tokens, the query's one included."""
    asked = RerankRequest("query", tuple(f"{name} {tokens - 1}" for tokens in lengths))
    return QueuedRequest.of(encode(asked), AdmittedRequest(len(lengths), 0))


def batches_of(requests: list[list[int]], budget: int) -> list[list[tuple[int, int]]]:
    """(request, tokens of a pair) of each batch until nothing waits."""

    async def take() -> list[list[tuple[int, int]]]:
        all_requests = [queued_request(name, lengths) for name, lengths in enumerate(requests)]
        queue, taken, seen = deque(all_requests), [], [set() for _ in requests]
        while queue:
            first, behind = queue[0], list(queue)[1:]
            batch = next_batch(queue, budget)
            assert batch[0][0] is first and len({id(request) for request, _ in batch}) == len(batch)
            passed = [request for request in behind if not any(request is served for served, _ in batch)]
            assert list(queue)[: len(passed)] == passed, "requests that got no share stay in front"
            for request, rows in batch:
                assert not seen[all_requests.index(request)] & set(rows.tolist())
                seen[all_requests.index(request)] |= set(rows.tolist())
            taken.append(
                [(all_requests.index(request), int(n)) for request, rows in batch for n in request.work.lengths[rows]]
            )
        assert [len(rows) for rows in seen] == [len(lengths) for lengths in requests]
        return taken

    return asyncio.run(take())


@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=20), min_size=1, max_size=8), st.integers(1, 300))
@example([[1]], 1)
@example([[60, 1], [60, 1], [60, 1]], 61)
def test_every_pair_has_one_batch_and_no_batch_is_too_long(requests, budget):
    for batch in batches_of(requests, budget):
        assert len(batch) == 1 or sum(tokens for _, tokens in batch) <= budget


def test_a_small_request_is_taken_whole_whatever_its_lengths():
    first = batches_of([[100] * 50, [20, 50, 7]], 400)[0]
    assert sorted(tokens for name, tokens in first if name == 1) == [7, 20, 50]


def test_a_batch_is_shared_out_evenly():
    first = batches_of([[10] * 60, [20] * 30, [30] * 20], 300)[0]
    assert [sum(tokens for name, tokens in first if name == request) for request in range(3)] == [110, 100, 90]


def test_a_round_looks_at_a_limited_number_of_requests(monkeypatch):
    monkeypatch.setattr(fair_queue, "_REQUESTS_PER_ROUND", 3)
    asked = [{name for name, _ in batch} for batch in batches_of([[10] * 4] * 7, 30)]
    assert asked[:2] == [{0, 1, 2}, {3, 4, 5}]
