"""What ends a request before it is ranked: hanging up, a deadline, a full queue, errors; nothing of it stays behind."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest

from rerank.batching.batcher import Batcher
from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.reading import Checkpoint
from rerank.errors import DeadlineError, OverloadedError
from rerank.types import RerankRequest
from tests.rerank.batching.requests import PATIENCE, Engine, encode, queued, request, run


def test_no_request_is_spelled_out_when_it_leaves_the_queue(monkeypatch):
    """Lists of numbers took the event loop up to 3 ms a request: a deque names what it does not hold."""
    spelled = []
    monkeypatch.setattr(EncodedPairs, "__repr__", lambda pairs: spelled.append(pairs) or "pairs")

    async def scenario():
        await Batcher(encode, Engine().score).score(request(1, 2))
        assert not spelled

    run(scenario())


def test_a_client_that_hangs_up_frees_its_pairs():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, batch_tokens=100)
        first, leaves, stays = await queued(batcher, engine, request(1, 500), request(2, 1))
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        engine.go.release(2)
        await asyncio.gather(first, stays)
        assert engine.batches == [[9000], [2000]]
        assert batcher.waiting_pairs == 0

    run(scenario())


async def hang_up_in_the_middle(batcher: Batcher, engine: Engine) -> None:
    """Ask for 500 pairs, and leave while the first batch of them is scored."""
    task = asyncio.create_task(batcher.score(request(1, 500)))
    await engine.entered_once()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_hanging_up_in_the_middle_drops_the_rest():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, batch_tokens=100)
        await hang_up_in_the_middle(batcher, engine)
        engine.go.release(1)
        engine.go.release(1)
        assert (await batcher.score(request(2, 1))).logits.tolist() == [2000]
        assert [engine.owners(batch) for batch in range(len(engine.batches))] == [{1: 10}, {2: 1}]

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
        assert engine.batches == [[9000]]
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


def test_a_queue_that_is_full_of_bytes_refuses_too():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, max_waiting_bytes=100_000)
        large = RerankRequest("query", ("1 9" + " " * 90_000,))
        tasks = await queued(batcher, engine, large)
        with pytest.raises(OverloadedError, match=r"texts of 9\d+ bytes wait to be scored and at most 100000 may"):
            await batcher.score(large)
        small = asyncio.create_task(batcher.score(request(2, 2)))
        engine.go.release(10)
        await asyncio.gather(small, *tasks)
        await batcher.score(RerankRequest("query", ("1 9" + " " * 200_000,)))  # alone, even a larger one is taken on

    run(scenario())


@pytest.mark.parametrize("timeout_s", [None, 0.05])
def test_tokenising_for_a_caller_that_left_counts_until_the_next_checkpoint_ends_it(timeout_s):
    async def scenario():
        entered, go, ended = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

        def slow_encode(asked: RerankRequest, checkpoint: Checkpoint) -> EncodedPairs:
            if len(asked.documents) > 1:
                entered.release()
                assert go.acquire(timeout=PATIENCE)
                try:
                    checkpoint()
                finally:
                    ended.set()
                raise AssertionError("the work goes on")
            return encode(asked)

        batcher = Batcher(slow_encode, Engine().score)
        task = asyncio.create_task(batcher.score(request(1, 500, timeout_s=timeout_s)))
        assert await asyncio.to_thread(entered.acquire, timeout=PATIENCE)
        if timeout_s is None:
            task.cancel()
        with pytest.raises(DeadlineError if timeout_s else asyncio.CancelledError):
            await task
        assert batcher.waiting_pairs == 500
        go.release()
        assert await asyncio.to_thread(ended.wait, PATIENCE)
        assert (await batcher.score(request(2, 1))).logits.tolist() == [2000]
        while batcher.waiting_pairs:
            await asyncio.sleep(0.001)

    run(scenario())


def test_a_batch_that_is_scored_for_a_caller_that_left_counts_until_it_ends():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, batch_tokens=100)
        await hang_up_in_the_middle(batcher, engine)
        assert batcher.waiting_pairs == 10
        engine.go.release(1)
        while batcher.waiting_pairs:
            await asyncio.sleep(0.001)

    run(scenario())


def test_what_would_be_late_is_refused_at_once():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score)
        batcher._throughput.pairs_per_second = 100.0
        tasks = await queued(batcher, engine, request(1, 300), request(2, 300))
        with pytest.raises(OverloadedError, match="601 pairs wait to be scored, too many to be ready within 8 seconds"):
            await batcher.score(request(3, 200, timeout_s=8))  # 6 seconds: 200 pairs of each, and the one before
        small = asyncio.create_task(batcher.score(request(4, 20, timeout_s=8)))  # its batch comes within a second
        patient = asyncio.create_task(batcher.score(request(5, 200, timeout_s=20)))
        engine.go.release(100)
        await asyncio.gather(small, patient, *tasks)

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


def test_an_error_in_an_early_batch_drops_the_rest_of_the_request():
    async def scenario():
        engine = Engine()
        engine.poison = {1000}
        batcher = Batcher(encode, engine.score, batch_tokens=100)
        with pytest.raises(RuntimeError):
            await batcher.score(request(1, 500))
        assert len(engine.batches) == 1
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

        def watched(asked: RerankRequest, checkpoint: Checkpoint) -> EncodedPairs:
            pairs = encode(asked)
            kept.append(weakref.ref(pairs.documents.values))
            return pairs

        batcher = Batcher(watched, Engine().score, batch_tokens=100)
        for name in range(1, 4):
            await batcher.score(request(name, 40))
        await asyncio.sleep(0)
        gc.collect()
        assert [reference() for reference in kept] == [None, None, None]
        assert not batcher._queue

    run(scenario())
