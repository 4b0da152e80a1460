"""What each batch holds: the batcher with an engine that records its calls and waits until it is told to go on."""

import asyncio
import os
import sys
import threading
import time

import numpy as np
import pytest

from rerank.batching.batcher import Batcher
from rerank.batching.merge import merge
from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.reading import Checkpoint
from rerank.types import BatchReport, RerankRequest
from tests.rerank.batching.requests import Engine, encode, queued, request, run


def test_logits_come_back_in_document_order():
    async def scenario():
        engine = Engine()
        lengths = (3, 9, 3, 5, 2)
        asked = RerankRequest("query", tuple(f"{row} {tokens}" for row, tokens in enumerate(lengths)))
        scored = await Batcher(encode, engine.score, batch_tokens=8).score(asked)
        assert scored.logits.tolist() == [0, 1, 2, 3, 4]
        assert scored.pairs.lengths.tolist() == [tokens + 1 for tokens in lengths]
        assert len(engine.batches) > 1

    run(scenario())


def test_waiting_requests_share_a_batch():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, batch_tokens=1000)
        tasks = await queued(batcher, engine, request(1, 3), request(2, 2), request(3, 1))
        engine.go.release(2)
        answers = await asyncio.gather(*tasks)
        assert engine.batches == [[9000], [1000, 1001, 1002, 2000, 2001, 3000]]
        assert [answer.logits.tolist() for answer in answers[1:]] == [[1000, 1001, 1002], [2000, 2001], [3000]]

    run(scenario())


def test_a_small_request_is_done_in_its_first_batch_beside_a_large_one():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, batch_tokens=200)  # 20 pairs
        _, large, small = await queued(batcher, engine, request(1, 1000), request(2, 4))
        engine.go.release(2)
        await small
        assert engine.owners(1) == {1: 16, 2: 4}
        assert not large.done()
        engine.go.release(100)
        assert (await large).logits.tolist() == list(range(1000, 2000))

    run(scenario())


def test_a_batch_is_full_and_shared_evenly():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, batch_tokens=300)
        tasks = await queued(batcher, engine, *(request(name, 100) for name in (1, 2, 3)))
        engine.go.release(100)
        await asyncio.gather(*tasks)
        assert engine.owners(1) == engine.owners(2) == {1: 10, 2: 10, 3: 10}
        assert len(engine.batches) == 1 + 10

    run(scenario())


def test_more_requests_than_fit_into_a_batch_are_served_in_order():
    async def scenario():
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, batch_tokens=20)
        tasks = await queued(batcher, engine, *(request(name, 2) for name in (1, 2, 3)))
        engine.go.release(100)
        await asyncio.gather(*tasks)
        assert [engine.owners(batch) for batch in (1, 2, 3)] == [{1: 1, 2: 1}, {1: 1, 3: 1}, {2: 1, 3: 1}]

    run(scenario())


def test_a_pair_above_the_budget_is_scored_alone():
    async def scenario():
        engine = Engine()
        await Batcher(encode, engine.score, batch_tokens=5).score(request(1, 2, tokens=50))
        assert engine.batches == [[1000], [1001]]

    run(scenario())


def test_an_idle_engine_starts_at_once_and_one_forward_runs_at_a_time():
    async def scenario():
        engine = Engine()
        batcher = Batcher(encode, engine.score, batch_tokens=100)
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

        def slow_encode(asked: RerankRequest, checkpoint: Checkpoint) -> EncodedPairs:
            tokenised.append(threading.current_thread().name)
            return encode(asked)

        batcher = Batcher(slow_encode, engine.score)
        tasks = await queued(batcher, engine, request(1, 5))
        assert len(tokenised) == 2 and all(name.startswith("tokenize") for name in tokenised)
        engine.go.release(2)
        await asyncio.gather(*tasks)

    run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
def test_threads_that_compute_have_a_lower_priority():
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def scenario():
        seen = []
        batcher = Batcher(lambda asked, _: seen.append(niceness()) or encode(asked), Engine().score)
        await batcher.score(request(1, 1))
        seen.append(batcher.call(niceness))
        assert niceness() <= seen[0] <= seen[1] and (niceness() == 19 or niceness() < seen[0])

    run(scenario())


def test_a_batch_grows_with_the_requests_beside_the_first():
    async def scenario():
        for waiting, pairs in ((1, 51), (2, 51), (4, 3 * 51), (10, 409)):
            engine = Engine(free=False)
            batcher = Batcher(encode, engine.score)
            batcher._throughput._budget = 512
            tasks = await queued(batcher, engine, *(request(name, 500) for name in range(1, waiting + 1)))
            engine.go.release(10_000)
            await asyncio.gather(*tasks)
            assert abs(len(engine.batches[1]) - pairs) <= waiting

    run(scenario())


def test_the_budget_adapts_to_the_speed_of_the_engine():
    async def scenario():
        def slow(pairs: EncodedPairs) -> np.ndarray:
            time.sleep(0.12)
            return np.zeros(len(pairs), dtype=np.float32)

        fast_batcher, slow_batcher = Batcher(encode, Engine().score), Batcher(encode, slow)
        await fast_batcher.score(request(1, 3000))
        await slow_batcher.score(request(1, 1000))
        assert slow_batcher._throughput.budget(1) < 4096 < fast_batcher._throughput.budget(1)

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


def test_a_request_knows_the_batches_that_held_its_pairs():
    async def scenario():
        engine, before = Engine(free=False), time.time()
        batcher = Batcher(encode, engine.score, batch_tokens=200)  # 20 pairs
        _, large, small = await queued(batcher, engine, request(1, 30), request(2, 4))
        engine.go.release(100)
        timings = (await large).timings
        assert [(batch.pairs, batch.batch_pairs) for batch in timings.batches] == [(16, 20), (14, 14)]
        (first, second) = timings.batches
        assert before <= timings.arrived_at <= time.time()
        assert timings.tokenize_s + timings.queue_s == pytest.approx(first.start_s, abs=1e-6)
        assert first.start_s <= first.end_s <= second.start_s <= second.end_s
        assert [batch.pairs for batch in (await small).timings.batches] == [4]

    run(scenario())


def test_batches_are_reported_with_what_waits_after_them():
    async def scenario():
        reports: list[BatchReport] = []
        engine = Engine(free=False)
        batcher = Batcher(encode, engine.score, batch_tokens=200, on_batch=reports.append)
        tasks = await queued(batcher, engine, request(1, 30), request(2, 4))
        engine.poison = {1029}
        engine.go.release(100)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        assert [(report.pairs, report.waiting_pairs) for report in reports] == [(1, 34), (20, 30), (14, 0)]
        assert all(report.seconds > 0 for report in reports)

    run(scenario())


def test_merging_keeps_each_pair_s_tokens():
    pairs = [encode(request(name, 3, tokens=4)) for name in (1, 2)]
    merged = merge([(pairs[0], np.array([2, 0])), (pairs[1], np.array([1]))])
    ids, _, offsets = merged.join(np.arange(3))
    assert np.split(ids, offsets[1:-1])[0].tolist() == [1, 1002, 1002, 1002]
    assert ids[offsets[:-1] + 1].tolist() == [1002, 1000, 2001]
    assert merged.lengths.tolist() == [4, 4, 4]


def test_no_thread_keeps_the_interpreter_from_the_lanes_for_long():
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.005)
        batcher = Batcher(encode, Engine().score)
        assert sys.getswitchinterval() > 0.004, "nothing changes before the first request"
        run(batcher.score(request(1, 1)))
        assert sys.getswitchinterval() < 0.001
        sys.setswitchinterval(0.0001)
        run(batcher.score(request(1, 1)))
        assert sys.getswitchinterval() < 0.00011
    finally:
        sys.setswitchinterval(before)
