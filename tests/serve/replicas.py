"""The application with replicas for tests: of a real model, or with an engine that starts at once and can be lost.

`build` is an application for `serve run`, which imports it by name.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from ray.serve import Application
from tokenizers import Tokenizer

import serve.app
from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs, Encoder
from rerank.engines import Scores
from rerank.errors import EngineLostError

STAND_IN = "stand-in"
"""The model whose replicas need no torch and no transformers, which would take seconds to import."""

OTHER_STAND_IN = "other-stand-in"
"""Another such model, which gives other logits."""

BATCH_S = 0.25
BREAK = "lose your engine, whoever first can make the file "


class StandInEngine:
    """An engine that sleeps for each batch, and can be lost."""

    lanes = None

    def __init__(self, model: str) -> None:
        self.description = {"model": model, "engine": STAND_IN, "device": "cpu", "dtype": "float32"}
        self.modulus = 997 if model == STAND_IN else 991
        self.is_lost = False

    def score(self, pairs: EncodedPairs) -> Scores:
        """Compute logits from the token ids alone."""
        if self.is_lost:
            raise EngineLostError("the device answers no more")
        time.sleep(BATCH_S)
        ids, _, offsets = pairs.join(np.arange(len(pairs)))
        sums = np.add.reduceat(ids.astype(np.int64), offsets[:-1])
        return Scores((sums % self.modulus / 100 - 5).astype(np.float32), len(ids))


class Replica(RerankActor):
    """Loses its engine when a query says so, if it is the first of the replicas to read that query."""

    def __init__(self, config: ScorerConfig, **options: Any) -> None:
        if config.model in (STAND_IN, OTHER_STAND_IN):
            tokenizer = Tokenizer.from_file(f"{ScorerConfig().location}/tokenizer.json")
            options |= {"engine": StandInEngine(config.model), "encoder": Encoder(tokenizer, max_length=256)}
        super().__init__(config, **options)

    async def rerank(self, request):
        if request.query.startswith(BREAK):
            with suppress(FileExistsError):
                Path(request.query.removeprefix(BREAK)).touch(exist_ok=False)
                self._reranker.engine.is_lost = True
        return await super().rerank(request)


def build(args: dict[str, Any]) -> Application:
    """Return the application for these arguments, with these replicas."""
    with patch.object(serve.app, "RerankActor", Replica):
        return serve.app.build(args)
