"""The loss of an engine: which requests may be its cause."""

import asyncio

import numpy as np

from rerank.batching.batcher import Batcher
from rerank.encoding.pairs import EncodedPairs
from rerank.errors import EngineLostError
from tests.rerank.batching.requests import Engine, encode, queued, request, run


class Losing(Engine):
    """It is lost with the first batch that holds document 2001, and never scores again."""

    is_lost = False

    def score(self, pairs: EncodedPairs) -> np.ndarray:
        logits = super().score(pairs)
        if self.is_lost or 2001 in logits:
            self.is_lost = True
            raise EngineLostError("the device answers no more")
        return logits


def test_the_requests_of_the_batch_share_one_error_and_those_behind_it_get_another():
    async def scenario():
        engine = Losing(free=False)
        batcher = Batcher(encode, engine.score)
        first, beside, deadly = await queued(batcher, engine, request(1, 3), request(2, 3))
        engine.go.release(1)
        await first
        behind = asyncio.create_task(batcher.score(request(3, 3)))
        engine.go.release(100)
        errors = await asyncio.gather(beside, deadly, behind, return_exceptions=True)
        assert {type(error) for error in errors} == {EngineLostError}
        assert errors[0] is errors[1] is not errors[2]
        assert engine.batches == [[9000], [1000, 1001, 1002, 2000, 2001, 2002], [3000, 3001, 3002]]

    run(scenario())
