"""Texts to encode in the queue: in the same batches as pairs, and under the same limits."""

import asyncio
import threading

import numpy as np
import pytest

from rerank.arrays import Ragged
from rerank.batching.batcher import Batcher
from rerank.encoding.reading import Checkpoint, never_stop
from rerank.encoding.texts import Texts
from rerank.errors import DeadlineError, InputError, OverloadedError
from rerank.types import EncodeRequest
from tests.rerank.batching.requests import PATIENCE, Engine, encode, queued, request, run


def texts(name: int, lengths: list[int], **options) -> EncodeRequest:
    """Texts of these lengths in tokens, numbered name * 1000, name * 1000 + 1, …"""
    return EncodeRequest(tuple(f"{name * 1000 + row} {tokens}" for row, tokens in enumerate(lengths)), **options)


def encode_texts(asked: EncodeRequest, checkpoint: Checkpoint = never_stop) -> Texts:
    rows = [[int(number)] * int(tokens) for number, tokens in map(str.split, asked.texts)]
    return Texts(Ragged.from_rows(rows), np.full(len(rows), asked.is_query))


class VectorEngine(Engine):
    """The vectors of a text: its tokens and whether it is a query. `encoded` lists the texts of each call."""

    def __init__(self, *, free: bool = True) -> None:
        super().__init__(free=free)
        self.encoded: list[list[int]] = []

    def vectors(self, asked: Texts) -> list[np.ndarray]:
        rows = np.split(asked.tokens.values, asked.tokens.offsets[1:-1])
        self.encoded.append(sorted(int(row[0]) for row in rows))
        if self.poison & set(self.encoded[-1]):
            raise RuntimeError(f"cannot encode {self.poison}")
        return [
            np.array([[token, is_query] for token in row], dtype=np.float32)
            for row, is_query in zip(rows, asked.is_query, strict=True)
        ]


def batcher_of(engine: VectorEngine, **options) -> Batcher:
    return Batcher(encode, engine.score, encode_texts=encode_texts, vectors=engine.vectors, **options)


def expected(asked: EncodeRequest) -> list[list[list[float]]]:
    rows = (map(int, text.split()) for text in asked.texts)
    return [[[number, asked.is_query]] * tokens for number, tokens in rows]


def test_vectors_come_back_in_the_order_of_the_texts():
    async def scenario():
        engine = VectorEngine()
        asked = texts(0, [3, 9, 3, 5, 2], is_query=True)
        encoded = await batcher_of(engine, batch_tokens=8).encode(asked)
        assert [vectors.tolist() for vectors in encoded.vectors] == expected(asked)
        assert encoded.texts.lengths.tolist() == [3, 9, 3, 5, 2]
        assert len(engine.encoded) > 1

    run(scenario())


def test_pairs_queries_and_documents_share_a_batch():
    async def scenario():
        engine = VectorEngine(free=False)
        batcher = batcher_of(engine, batch_tokens=1000)
        first, pairs = await queued(batcher, engine, request(1, 3))
        asked = [texts(2, [4, 4, 4]), texts(3, [4], is_query=True)]
        tasks = [asyncio.create_task(batcher.encode(one)) for one in asked]
        while len(batcher._queue) < 3:
            await asyncio.sleep(0.001)
        assert batcher.waiting_pairs == 1 + 3 + 3 + 1
        engine.go.release(2)
        await first
        assert (await pairs).logits.tolist() == [1000, 1001, 1002]
        encoded = await asyncio.gather(*tasks)
        assert [[vectors.tolist() for vectors in one.vectors] for one in encoded] == [expected(one) for one in asked]
        assert engine.batches == [[9000], [1000, 1001, 1002]]
        assert engine.encoded == [[2000, 2001, 2002, 3000]]
        assert batcher.waiting_pairs == 0

    run(scenario())


def test_a_short_text_does_not_wait_for_many_pairs():
    async def scenario():
        engine = VectorEngine(free=False)
        batcher = batcher_of(engine, batch_tokens=200)  # 20 pairs
        _, large = await queued(batcher, engine, request(1, 1000))
        small = asyncio.create_task(batcher.encode(texts(2, [10])))
        while len(batcher._queue) < 2:
            await asyncio.sleep(0.001)
        engine.go.release(2)
        await small
        assert not large.done()
        large.cancel()
        engine.go.release(100)

    run(scenario())


def test_texts_count_in_the_limit_of_waiting_pairs():
    async def scenario():
        engine = VectorEngine(free=False)
        batcher = batcher_of(engine, max_waiting_pairs=10)
        tasks = await queued(batcher, engine, request(1, 5))
        with pytest.raises(OverloadedError, match="6 pairs wait to be scored and at most 10 may"):
            await batcher.encode(texts(2, [1] * 5))
        fits = asyncio.create_task(batcher.encode(texts(3, [1] * 4)))
        engine.go.release(2)
        await asyncio.gather(fits, *tasks)

    run(scenario())


def test_texts_count_in_the_limit_of_waiting_bytes():
    async def scenario():
        entered, go = threading.Event(), threading.Event()

        def waiting_encode_texts(asked: EncodeRequest, checkpoint: Checkpoint) -> Texts:
            entered.set()
            assert go.wait(PATIENCE)
            return encode_texts(asked, checkpoint)

        engine = VectorEngine()
        batcher = Batcher(
            encode,
            engine.score,
            encode_texts=waiting_encode_texts,
            vectors=engine.vectors,
            max_waiting_bytes=100_000,
        )
        large = EncodeRequest(("1 9" + " " * 90_000,))
        first = asyncio.create_task(batcher.encode(large))
        await asyncio.to_thread(entered.wait, PATIENCE)
        with pytest.raises(OverloadedError, match=r"texts of 9\d+ bytes wait to be scored and at most 100000 may"):
            await batcher.encode(large)
        go.set()
        await first

    run(scenario())


def test_texts_of_a_caller_that_left_are_tokenised_until_the_next_checkpoint():
    async def scenario():
        entered, go = threading.Event(), threading.Event()
        ended: list[str] = []

        def slow_encode_texts(asked: EncodeRequest, checkpoint: Checkpoint) -> Texts:
            entered.set()
            assert go.wait(PATIENCE)
            try:
                checkpoint()
            except Exception as problem:
                ended.append(str(problem))
                raise
            return encode_texts(asked)

        batcher = Batcher(encode, Engine().score, encode_texts=slow_encode_texts)
        task = asyncio.create_task(batcher.encode(texts(1, [3] * 50)))
        assert await asyncio.to_thread(entered.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert batcher.waiting_pairs == 50
        go.set()
        while batcher.waiting_pairs:
            await asyncio.sleep(0.001)
        assert ended == ["the caller has left"]

    run(scenario())


def test_a_deadline_and_a_client_that_hangs_up_free_their_texts():
    async def scenario():
        engine = VectorEngine(free=False)
        batcher = batcher_of(engine)
        (first,) = await queued(batcher, engine)
        leaves = asyncio.create_task(batcher.encode(texts(1, [5] * 50)))
        with pytest.raises(DeadlineError, match=r"not ready within 0\.05 seconds"):
            await batcher.encode(texts(2, [5], timeout_s=0.05))
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        engine.go.release(1)
        await first
        assert batcher.waiting_pairs == 0
        assert engine.encoded == []

    run(scenario())


def test_an_error_reaches_only_the_request_that_causes_it():
    async def scenario():
        engine = VectorEngine(free=False)
        engine.poison = {2001}
        batcher = batcher_of(engine)
        tasks = await queued(batcher, engine, request(1, 2))
        tasks += [asyncio.create_task(batcher.encode(texts(name, [3, 3]))) for name in (2, 3)]
        while len(batcher._queue) < 3:
            await asyncio.sleep(0.001)
        engine.go.release(100)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers[1].logits.tolist() == [1000, 1001]
        assert isinstance(answers[2], RuntimeError)
        assert answers[3].vectors[1].tolist() == [[3001, 0]] * 3

    run(scenario())


def test_an_engine_without_vectors_refuses_them():
    with pytest.raises(InputError, match="does not encode texts"):
        run(Batcher(encode, Engine().score).encode(texts(1, [3])))
