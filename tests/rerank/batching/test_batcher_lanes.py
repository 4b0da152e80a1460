"""The batcher with an engine of several lanes: each takes batches of its own, and all cores together what is small."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from rerank.actor import RerankActor
from rerank.batching.batcher import Batcher
from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.reading import Checkpoint
from rerank.types import RerankRequest
from tests.rerank.batching.requests import PATIENCE, Engine, encode, request, run
from tests.rerank.test_oracle import TOLERANCE, exact


class ThreadLanes:
    """Two threads, for batches of at least 100 tokens."""

    count = 2

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="lane")

    def is_faster_in_parallel(self, batch_count: int) -> bool:
        return batch_count > 1

    def split_evenly(self, tokens: int) -> int:
        return tokens if tokens < 200 else max(100, tokens // 2)


class Watched(Engine):
    """Also notes the thread of each batch."""

    def __init__(self, *, free: bool = True) -> None:
        super().__init__(free=free)
        self.threads: list[str] = []

    def score(self, pairs: EncodedPairs) -> np.ndarray:
        self.threads.append(threading.current_thread().name.rstrip("_0123456789"))
        return super().score(pairs)


def laned(engine: Engine, **options) -> Batcher:
    lanes = ThreadLanes()
    return Batcher(encode, engine.score, lanes=lambda: lanes, **options)


def test_a_small_request_has_all_cores():
    async def scenario():
        engine = Watched()
        answer = await laned(engine).score(request(1, 19))
        assert answer.logits.tolist() == list(range(1000, 1019))
        assert engine.threads == ["engine"]

    run(scenario())


def test_a_large_one_is_shared_out_and_all_lanes_end_together():
    async def scenario():
        engine = Watched()
        answer = await laned(engine, batch_tokens=300).score(request(1, 100))
        assert answer.logits.tolist() == list(range(1000, 1100))
        sizes = sorted((len(batch) for batch in engine.batches), reverse=True)
        assert sizes == [30, 30, 20, 10, 10]
        assert set(engine.threads) == {"lane"} and engine.most_running <= 2

    run(scenario())


def test_no_lane_waits_for_the_other():
    async def scenario():
        engine = Watched(free=False)
        batcher = laned(engine, batch_tokens=300)
        large = asyncio.create_task(batcher.score(request(1, 1000)))
        await engine.entered_once()
        await engine.entered_once()  # both are at work, and stay so until they are told to go on
        for batches in range(2, 6):
            assert (len(engine.batches), engine.running) == (batches, 2)
            engine.go.release(1)
            await engine.entered_once()
        small = asyncio.create_task(batcher.score(request(2, 4)))
        while len(batcher._queue) < 2:
            await asyncio.sleep(0.001)
        engine.go.release(4)  # both batches at work, and the next of each lane
        await small
        assert {2000, 2001, 2002, 2003} <= {pair for batch in engine.batches[6:8] for pair in batch}
        assert len(engine.batches) <= 10
        assert not large.done()
        engine.go.release(1000)
        assert (await large).logits.tolist() == list(range(1000, 2000))

    run(scenario())


def test_a_new_request_takes_the_free_lane_at_once():
    async def scenario():
        engine = Watched(free=False)
        batcher = laned(engine)
        large = asyncio.create_task(batcher.score(request(1, 20)))
        await engine.entered_once()
        await engine.entered_once()
        engine.go.release(1)
        while engine.running > 1:
            await asyncio.sleep(0.001)
        small = asyncio.create_task(batcher.score(request(2, 2)))
        await engine.entered_once()
        assert engine.batches[2] == [2000, 2001] and engine.threads == ["lane"] * 3
        engine.go.release(2)
        await asyncio.gather(large, small)

    run(scenario())


def test_nothing_starts_beside_a_batch_on_all_cores():
    async def scenario():
        engine = Watched(free=False)
        batcher = laned(engine)
        small = asyncio.create_task(batcher.score(request(1, 2)))
        await engine.entered_once()
        large = asyncio.create_task(batcher.score(request(2, 60)))
        while len(batcher._queue) < 1:
            await asyncio.sleep(0.001)
        assert engine.threads == ["engine"]
        engine.go.release(1)
        await small
        await engine.entered_once()
        await engine.entered_once()
        assert engine.threads == ["engine", "lane", "lane"]
        engine.go.release(100)
        await large

    run(scenario())


def test_pairs_without_tokens_have_their_batch_too():
    def of_nothing(asked: RerankRequest, checkpoint: Checkpoint) -> EncodedPairs:
        pairs = encode(asked)
        return replace(pairs, query_lengths=np.zeros_like(pairs.query_lengths))

    async def scenario():
        lanes = ThreadLanes()
        batcher = Batcher(of_nothing, lambda pairs: np.full(len(pairs), np.nan), lanes=lambda: lanes)
        assert np.isnan((await batcher.score(request(1, 3, tokens=1))).logits).tolist() == [True] * 3

    run(scenario())


def test_a_failing_request_fails_alone_in_its_lane():
    async def scenario():
        engine = Watched()
        engine.poison = {1007}
        batcher = laned(engine, batch_tokens=400)
        answers = await asyncio.gather(
            *(batcher.score(request(name, 50)) for name in (1, 2, 3)), return_exceptions=True
        )
        assert isinstance(answers[0], RuntimeError)
        assert [answers[row].logits[-1] for row in (1, 2)] == [2049, 3049]
        assert (await batcher.score(request(4, 100))).logits[-1] == 4099

    run(scenario())


def test_a_loop_that_ends_leaves_no_batch_behind(caplog):
    engine = Watched(free=False)

    async def scenario():
        batcher = laned(engine, batch_tokens=100)
        asyncio.create_task(batcher.score(request(1, 100)))  # noqa: RUF006
        await engine.entered_once()
        engine.go.release(10**6)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert not caplog.records


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_served_request_has_the_logits_of_the_bare_scorer(folder_of, count):
    config = exact(folder_of("bert")).model_copy(update={"threads": 2})
    actor = RerankActor(config)
    texts = tuple(f"{'word ' * (index % 9)}text {index}" for index in range(count))
    asked = RerankRequest("which word?", texts)

    async def both() -> list:
        return await asyncio.gather(actor.rerank(asked), actor.rerank(asked))

    bare = {found.index: found.logit for found in actor._reranker.rerank(asked).ranked}
    for served in asyncio.run(both()):
        logits = {found.index: found.logit for found in served.ranked}
        assert logits.keys() == bare.keys()
        np.testing.assert_allclose([logits[index] for index in bare], list(bare.values()), rtol=0, atol=TOLERANCE)
