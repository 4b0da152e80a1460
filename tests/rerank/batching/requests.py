"""Stand-ins for a batcher's tokeniser and engine, and requests that wait for it."""

import asyncio
import threading

import numpy as np

from rerank.arrays import Ragged
from rerank.batching.batcher import Batcher
from rerank.encoding.pairs import EncodedPairs, PairTemplate
from rerank.encoding.reading import Checkpoint, never_stop
from rerank.types import RerankRequest

TEMPLATE = PairTemplate(((), (), ()), (0, 0, 0, 0, 0))
PATIENCE = 20.0  # seconds until a test that hangs fails


def request(name: int, count: int, *, tokens: int = 10, timeout_s: float | None = None) -> RerankRequest:
    """`count` documents of `tokens` tokens (one of them the query's), numbered name * 1000, name * 1000 + 1, …"""
    documents = tuple(f"{name * 1000 + index} {tokens - 1}" for index in range(count))
    return RerankRequest("query", documents, timeout_s=timeout_s)


def encode(asked: RerankRequest, checkpoint: Checkpoint = never_stop) -> EncodedPairs:
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
    """Logit of a pair = its document's first token. `batches` lists the documents of each call."""

    def __init__(self, *, free: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.poison: set[int] = set()
        self.running = 0
        self.most_running = 0
        self.go = threading.Semaphore(10**6 if free else 0)
        self.entered = threading.Semaphore(0)

    def score(self, pairs: EncodedPairs) -> np.ndarray:
        documents = pairs.documents.values[pairs.documents.offsets[pairs.document_of]]
        self.batches.append(sorted(documents.tolist()))
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

    def owners(self, batch: int) -> dict[int, int]:
        """How many documents of which request were in that batch."""
        names, counts = np.unique(np.array(self.batches[batch]) // 1000, return_counts=True)
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
