"""The actor that both shells run: a block of candidate sets for the job, one request for the server."""

import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from rerank.batching.batcher import Batcher
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.engines import Engine
from rerank.errors import EngineLostError
from rerank.isolation.attempts import ScoringAttempts
from rerank.prepare import look_up_again
from rerank.ranking.options import WHOLE, RankingOptions
from rerank.reranker import Reranker
from rerank.store import ScoreStore, look_up_recent
from rerank.types import RerankRequest, RerankResult


class RerankActor:
    """A model on a device. Ray Data calls it with tables, Ray Serve awaits `rerank`; it knows neither."""

    def __init__(
        self,
        config: ScorerConfig,
        *,
        options: RankingOptions = WHOLE,
        on_block: Callable[[pa.Table], None] | None = None,
        on_progress: Callable[[int], None] | None = None,
        store: ScoreStore | None = None,
        after_part: str = "",
        attempts: ScoringAttempts | None = None,
        engine: Engine | None = None,
        encoder: PairEncoder | None = None,
        preload: bool = True,
        max_waiting_pairs: int = 16_384,
    ) -> None:
        """Load the model. `options` says what `__call__` scores and gives back (requests bring their own);
        `on_block` sees each ranked block, and `on_progress` how many more pairs of a block were scored (0 when the
        model is loaded and scoring begins); `store` remembers what `__call__` scores.
        Blocks were looked up in its parts up to the one named `after_part`, and are once more in later ones, for an
        actor that died may have been here before. `attempts` finds out the pairs that it dies of.
        Without `preload` the model is loaded when there is something to score, which may be never.
        `max_waiting_pairs` bounds the queue of `rerank`.
        """
        self._reranker = Reranker(config, engine=engine, encoder=encoder)
        self._options = options
        self._lost: EngineLostError | None = None
        self._on_block, self._on_progress = on_block, on_progress
        self._remember = store.append if store is not None else None
        self._recent = look_up_recent(store, after_part=after_part) if store is not None else None
        self._attempts = attempts
        self._batcher = Batcher(
            self._reranker.encode,
            lambda pairs: self._reranker.engine.score(pairs).logits,
            lanes=lambda: self._reranker.engine.lanes,
            turn_tokens=config.batch_tokens,
            max_waiting_pairs=max_waiting_pairs,
        )
        # Loaded in the thread that scores requests: OpenMP keeps a team of threads for each thread that computes, and
        # as soon as two teams are more than the cores, small batches take a tenth longer.
        if preload:
            self._batcher.call(lambda: self._reranker.engine)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Rank a block of candidate sets; see `Reranker.rank_table` for the columns that come back."""
        if self._recent is not None:
            table = look_up_again(table, self._recent)
        try:
            ranked = self._reranker.rank_table(
                table,
                options=self._options,
                remember=self._remember,
                attempts=self._attempts,
                on_progress=self._on_progress,
            )
        except EngineLostError:
            if self._attempts is None:
                raise
            traceback.print_exc()
            os._exit(1)  # Ray starts the actor again; it finds the note, and which pair it was
        if self._on_block is not None:
            self._on_block(ranked)
        return ranked

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Rank one request; its pairs share batches with those of the requests beside it.

        Cancelling drops what is not yet scored. Raises OverloadedError, DeadlineError, ModelError where the model
        gives no number, and EngineLostError, after which `check_health` fails.
        """
        try:
            scored = await self._batcher.score(request)
        except EngineLostError as problem:
            self._lost = problem
            raise
        return replace(self._reranker.finish(request, scored.pairs, scored.logits), timings=scored.timings)

    def check_health(self) -> None:
        """Raise EngineLostError once the engine is lost: Ray Serve asks, and starts a new replica in its place."""
        if self._lost is not None:
            raise self._lost

    def describe(self) -> dict[str, Any]:
        """What runs here: model, engine, device, precision, length limit."""
        return {**self._reranker.engine.description, "max_length": self._reranker.encoder.max_length}
