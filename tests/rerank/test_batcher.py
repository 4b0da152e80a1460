"""The batcher with an engine that records what it is given and waits until it is told to go on."""

import asyncio
import gc
import threading
import time
import weakref

import numpy as np
import pytest

from rerank.batcher import Batcher
from rerank.encode import EncodedPairs, PairTemplate
from rerank.errors import DeadlineError, OverloadedError
from rerank.merge import merge
from rerank.ragged import Ragged
from rerank.types import RerankRequest

TEMPLATE = PairTemplate(((), (), ()), (0, 0, 0, 0, 0))
PATIENCE = 20.0  # seconds until a test that hangs fails


def request(name: int, count: int, *, tokens: int = 10, timeout_s: float | None = None) -> RerankRequest:
    """`count` documents of `tokens` tokens (one of them the query's), numbered name * 1000, name * 1000 + 1, …"""
    documents = tuple(f"{name * 1000 + index} {tokens - 1}" for index in range(count))
    return RerankRequest("query", documents, timeout_s=timeout_s)


def encode(asked: RerankRequest) -> EncodedPairs:
    rows = [[int(number)] * int(tokens) for number, tokens in map(str.split, asked.documents)]
    documents = Ragged.from_rows(rows)
    count = len(rows)
    return EncodedPairs(
        TEMPLATE,
        Ragged.from_rows([[1]]),
        documents,
        np.zeros(count, dtype=np.int32),
        np.arange(count, dtype=np.int32),
        np.ones(count, dtype=np.int32),
        documents.lengths.astype(np.int32),
    )


class Engine:
    """Logit of a pair = its document's first token. `turns` lists the documents of each call."""

    def __init__(self, *, free: bool = True) -> None:
        self.turns: list[list[int]] = []
        self.poison: set[int] = set()
        self.running = 0
        self.most_running = 0
        self.go = threading.Semaphore(10**6 if free else 0)
        self.entered = threading.Semaphore(0)

    def score(self, pairs: EncodedPairs) -> np.ndarray:
        documents = pairs.documents.values[pairs.documents.offsets[pairs.document_of]]
        self.turns.append(sorted(documents.tolist()))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.entered.release()
        assert self.go.acquire(timeout=PATIENCE)
        self.running -= 1
        if self.poison & set(documents.tolist()):
            raise RuntimeError(f"cannot score {self.poison}")
        return documents.astype(np.float32)

    async def entered_once(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=PATIENCE)

    def owners(self, turn: int) -> dict[int, int]:
        """How many documents of which request were in that turn."""
        names, counts = np.unique(np.array(self.turns[turn]) // 1000, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, PATIENCE))


async def queued(batcher: Batcher, engine: Engine, *requests: RerankRequest) -> list[asyncio.Task]:
    """Tasks of the requests, waiting in that order behind a first one (request 9) that occupies the engine."""
    tasks = [asyncio.create_task(batcher.score(request(9, 1)))]
    await engine.entered_once()
    for asked in requests:
        tasks.append(asyncio.create_task(batcher.score(asked)))
        while len(batcher._queue) < len(tasks) - 1:
            await asyncio.sleep(0.001)
    return tasks


def test_logits_come_back_in_document_order():
    async def scenario():
        engine = Engine()
        lengths = (3, 9, 3, 5, 2)
        asked = RerankRequest("query", tuple(f"{row} {tokens}" for row, tokens in enumerate(lengths)))
        scored = await Batcher(encode, engine.score, turn_tokens=8).score(asked)
        assert scored.logits.tolist() == [0, 1, 2, 3, 4]
        assert scored.pairs.lengths.tolist() == [tokens + 1 for tokens in lengths]
        assert len(engine.turns) > 1

    run(scenario())


def test_no_request_is_spelled_out_when_it_leaves_the_queue(monkeypatch):
    """Lists of numbers took the event loop up to 3 ms a request: a deque names what it does not hold."""
    spelled = []
    monkeypatch.setattr(EncodedPairs, "__repr__", lambda pairs: spelled.append(pairs) or "pairs")

    async def scenario():
        await Batcher(encode, Engine().score).score(request(1, 2))
        assert not spelled

    run(scenario())


def test_waiting_requests_share_a_batch():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, turn_tokens=1000)
        tasks = await queued(batcher, engine, request(1, 3), request(2, 2), request(3, 1))
        engine.go.release(2)
        answers = await asyncio.gather(*tasks)
        assert engine.turns == [[9000], [1000, 1001, 1002, 2000, 2001, 3000]]
        assert [answer.logits.tolist() for answer in answers[1:]] == [[1000, 1001, 1002], [2000, 2001], [3000]]

    run(scenario())


def test_a_small_request_is_done_in_its_first_turn_beside_a_large_one():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, turn_tokens=200)  # 20 pairs
        _, large, small = await queued(batcher, engine, request(1, 1000), request(2, 4))
        engine.go.release(2)
        await small
        assert engine.owners(1) == {1: 16, 2: 4}
        assert not large.done()
        engine.go.release(100)
        assert (await large).logits.tolist() == list(range(1000, 2000))

    run(scenario())


def test_a_turn_is_full_and_shared_evenly():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, turn_tokens=300)
        tasks = await queued(batcher, engine, *(request(name, 100) for name in (1, 2, 3)))
        engine.go.release(100)
        await asyncio.gather(*tasks)
        assert engine.owners(1) == engine.owners(2) == {1: 10, 2: 10, 3: 10}
        assert len(engine.turns) == 1 + 10

    run(scenario())


def test_more_requests_than_fit_into_a_turn_are_served_in_order():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, turn_tokens=20)
        tasks = await queued(batcher, engine, *(request(name, 2) for name in (1, 2, 3)))
        engine.go.release(100)
        await asyncio.gather(*tasks)
        assert [engine.owners(turn) for turn in (1, 2, 3)] == [{1: 1, 2: 1}, {1: 1, 3: 1}, {2: 1, 3: 1}]

    run(scenario())


def test_a_pair_above_the_budget_is_scored_alone():
    async def scenario():
        engine = Engine()
        await Batcher(encode, engine.score, turn_tokens=5).score(request(1, 2, tokens=50))
        assert engine.turns == [[1000], [1001]]

    run(scenario())


def test_an_idle_engine_starts_at_once_and_one_forward_runs_at_a_time():
    async def scenario():
        engine = Engine()
        batcher = Batcher(encode, engine.score, turn_tokens=100)
        started = time.perf_counter()
        await batcher.score(request(1, 1))
        assert time.perf_counter() - started < 1
        await asyncio.gather(*(batcher.score(request(name, 30)) for name in range(1, 9)))
        assert engine.most_running == 1

    run(scenario())


def test_tokenising_overlaps_the_forward_and_neither_holds_the_event_loop():
    async def scenario():
        engine = Engine(free=False)
        tokenised: list[str] = []

        def slow_encode(asked: RerankRequest) -> EncodedPairs:
            tokenised.append(threading.current_thread().name)
            return encode(asked)

        batcher = Batcher(slow_encode, engine.score)
        tasks = await queued(batcher, engine, request(1, 5))
        assert len(tokenised) == 2 and all(name.startswith("tokenize") for name in tokenised)
        engine.go.release(2)
        await asyncio.gather(*tasks)

    run(scenario())


def test_a_client_that_hangs_up_frees_its_pairs():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, turn_tokens=100)
        first, leaves, stays = await queued(batcher, engine, request(1, 500), request(2, 1))
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        engine.go.release(2)
        await asyncio.gather(first, stays)
        assert engine.turns == [[9000], [2000]]
        assert batcher.waiting_pairs == 0

    run(scenario())


def test_hanging_up_in_the_middle_drops_the_rest():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, turn_tokens=100)
        task = asyncio.create_task(batcher.score(request(1, 500)))
        await engine.entered_once()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        engine.go.release(1)
        engine.go.release(1)
        assert (await batcher.score(request(2, 1))).logits.tolist() == [2000]
        assert [engine.owners(turn) for turn in range(len(engine.turns))] == [{1: 10}, {2: 1}]

    run(scenario())


def test_a_deadline_frees_its_pairs_and_is_an_error():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score)
        first, late = await queued(batcher, engine, request(1, 500, timeout_s=0.05))
        with pytest.raises(DeadlineError, match=r"not ready within 0\.05 seconds"):
            await late
        engine.go.release(1)
        await first
        assert engine.turns == [[9000]]
        assert batcher.waiting_pairs == 0

    run(scenario())


def test_a_timeout_inside_the_engine_is_no_deadline():
    async def scenario():
        def score(pairs: EncodedPairs) -> np.ndarray:
            raise TimeoutError("the device does not answer")

        with pytest.raises(TimeoutError, match="device"):
            await Batcher(encode, score).score(request(1, 1, timeout_s=5))

    run(scenario())


def test_a_full_queue_refuses_before_tokenising():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, max_waiting_pairs=10)
        tasks = await queued(batcher, engine, request(1, 9))
        with pytest.raises(OverloadedError, match="10 pairs wait to be scored and at most 10 may") as refused:
            await batcher.score(request(2, 1))
        assert 1 <= refused.value.retry_after_s <= 60
        engine.go.release(2)
        await asyncio.gather(*tasks)
        engine.go.release(100)
        await batcher.score(request(3, 500))  # alone, even a request above the bound is taken on

    run(scenario())


def test_an_engine_error_reaches_only_the_request_that_causes_it():
    async def scenario():
        engine = Engine(free=False)
        engine.poison = {2001}
        batcher = Batcher(encode, engine.score)
        tasks = await queued(batcher, engine, request(1, 3), request(2, 3), request(3, 3))
        engine.go.release(100)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[2], RuntimeError)
        assert [answers[row].logits[0] for row in (0, 1, 3)] == [9000, 1000, 3000]
        assert (await batcher.score(request(4, 2))).logits.tolist() == [4000, 4001]

    run(scenario())


def test_an_error_in_an_early_turn_drops_the_rest_of_the_request():
    async def scenario():
        engine = Engine()
        engine.poison = {1000}
        batcher = Batcher(encode, engine.score, turn_tokens=100)
        with pytest.raises(RuntimeError):
            await batcher.score(request(1, 500))
        assert len(engine.turns) == 1
        assert not batcher._queue and batcher.waiting_pairs == 0

    run(scenario())


def test_a_tokeniser_error_is_the_request_s_own():
    async def scenario():
        batcher = Batcher(encode, Engine().score)
        with pytest.raises(ValueError):
            await batcher.score(RerankRequest("query", ("not a number",)))
        assert batcher.waiting_pairs == 0

    run(scenario())


def test_nothing_is_kept_after_completion():
    async def scenario():
        kept: list[weakref.ref] = []

        def watched(asked: RerankRequest) -> EncodedPairs:
            pairs = encode(asked)
            kept.append(weakref.ref(pairs.documents.values))
            return pairs

        batcher = Batcher(watched, Engine().score, turn_tokens=100)
        for name in range(1, 4):
            await batcher.score(request(name, 40))
        await asyncio.sleep(0)
        gc.collect()
        assert [reference() for reference in kept] == [None, None, None]
        assert not batcher._queue

    run(scenario())


def test_the_budget_adapts_to_the_speed_of_the_engine():
    async def scenario():
        def slow(pairs: EncodedPairs) -> np.ndarray:
            time.sleep(0.12)
            return np.zeros(len(pairs), dtype=np.float32)

        fast_batcher, slow_batcher = Batcher(encode, Engine().score), Batcher(encode, slow)
        await fast_batcher.score(request(1, 3000))
        await slow_batcher.score(request(1, 1000))
        assert slow_batcher._budget < 4096 < fast_batcher._budget

    run(scenario())


def test_timings_add_up():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score)
        started = time.perf_counter()
        tasks = await queued(batcher, engine, request(1, 5))
        await asyncio.sleep(0.05)
        engine.go.release(2)
        timings = (await tasks[1]).timings
        assert timings.queue_s >= 0.05
        assert timings.tokenize_s + timings.queue_s + timings.score_s <= time.perf_counter() - started
        await tasks[0]

    run(scenario())


def test_merging_keeps_each_pair_s_tokens():
    pairs = [encode(request(name, 3, tokens=4)) for name in (1, 2)]
    merged = merge([(pairs[0], np.array([2, 0])), (pairs[1], np.array([1]))])
    ids, _, offsets = merged.join(np.arange(3))
    assert np.split(ids, offsets[1:-1])[0].tolist() == [1, 1002, 1002, 1002]
    assert ids[offsets[:-1] + 1].tolist() == [1002, 1000, 2001]
    assert merged.lengths.tolist() == [4, 4, 4]
