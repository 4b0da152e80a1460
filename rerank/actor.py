"""The actor of the job and of the server: it ranks blocks of candidate sets for one, single requests for the other."""

import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from rerank.batching.admission import MAX_WAITING_BYTES
from rerank.batching.batcher import Batcher
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.engines import Engine
from rerank.errors import EngineLostError, UnavailableError
from rerank.isolation.attempts import ScoringAttempts
from rerank.prepare import look_up_again
from rerank.ranking.options import DEFAULT_OPTIONS, RankingOptions
from rerank.reranker import Reranker
from rerank.store import ScoreStore, look_up_recent
from rerank.types import RerankRequest, RerankResult


class RerankActor:
    """A model on a device, ready to rank tables (`__call__`, for Ray Data) and requests (`rerank`, for Ray Serve).

    It imports neither Ray Data nor Ray Serve: `Dataset.map_batches(RerankActor, batch_format="pyarrow", …)` runs it as
    it is. `__call__` and `rerank` are two ways to use it; one actor is used in one of them.
    """

    def __init__(
        self,
        config: ScorerConfig,
        *,
        options: RankingOptions = DEFAULT_OPTIONS,
        on_block: Callable[[pa.Table], None] | None = None,
        on_progress: Callable[[int], None] | None = None,
        store: ScoreStore | None = None,
        after_part: str = "",
        attempts: ScoringAttempts | None = None,
        engine: Engine | None = None,
        encoder: PairEncoder | None = None,
        preload: bool = True,
        max_waiting_pairs: int = 16_384,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        """Load the model of `config`. Raises ModelError or ConfigError.

        For `__call__`:

        - `options`: which candidates are scored and returned, and their order (requests bring their own `top_k`)
        - `on_block`: called with each ranked block, to report progress
        - `on_progress`: called with how many more pairs of a block were scored; with 0 when the model is loaded and
          scoring begins
        - `store`: where new logits are saved, and looked up in parts that are newer than the one named `after_part`. An
          actor that died may have written such parts; the caller has looked up the older ones already
        - `attempts`: markers of what is being scored, by which a restarted actor finds the pairs that killed it

        For `rerank`: `max_waiting_pairs` and `max_waiting_bytes`, the number of unfinished pairs and the bytes of their
        texts above which requests are refused.

        `engine` and `encoder` replace what the model would bring. `preload=False` loads the model when the first pair
        has to be scored, which may be never.
        """
        self._reranker = Reranker(config, engine=engine, encoder=encoder)
        self._options = options
        self._engine_lost: EngineLostError | None = None
        self._on_block, self._on_progress = on_block, on_progress
        self._save_scores = store.append if store is not None else None
        self._look_up_recent = look_up_recent(store, after_part=after_part) if store is not None else None
        self._attempts = attempts
        self._batcher = Batcher(
            self._reranker.encode,
            lambda pairs: self._reranker.engine.score(pairs).logits,
            lanes=lambda: self._reranker.engine.lanes,
            batch_tokens=config.batch_tokens,
            max_waiting_pairs=max_waiting_pairs,
            max_waiting_bytes=max_waiting_bytes,
        )
        # Load in the thread that scores requests: OpenMP keeps one team of threads per computing thread, and small
        # batches take a tenth longer once two teams have more threads than there are cores.
        if preload:
            self._batcher.call(lambda: self._reranker.engine)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the block of candidate sets ranked; `Reranker.rank_table` lists the columns and the errors.

        If the engine is lost, this process ends when there are `attempts`, so that Ray starts the actor again.
        Otherwise EngineLostError is raised.
        """
        if self._look_up_recent is not None:
            table = look_up_again(table, self._look_up_recent)
        try:
            ranked = self._reranker.rank_table(
                table,
                options=self._options,
                save_scores=self._save_scores,
                attempts=self._attempts,
                on_progress=self._on_progress,
            )
        except EngineLostError:
            if self._attempts is None:
                raise
            traceback.print_exc()
            os._exit(1)  # Ray restarts the actor, which finds the marker and with it the pair
        if self._on_block is not None:
            self._on_block(ranked)
        return ranked

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Return the ranked documents of one request; its pairs share batches with those of concurrent requests.

        Cancelling the call drops the pairs that are not scored yet. Raises OverloadedError at once if too many pairs
        are queued, DeadlineError after `timeout_s` seconds, TooLongError (see `TokenLimits`), ModelError if a logit is
        not finite, and EngineLostError for the requests of the batch in which the engine was lost. From then on
        `check_health` raises it too, and other requests, which cannot be the cause, raise UnavailableError.
        """
        try:
            scored = await self._batcher.score(request)
        except EngineLostError as problem:
            if self._engine_lost not in (None, problem):
                raise UnavailableError("the model's engine was lost, a new one is started, retry later") from problem
            self._engine_lost = problem
            raise
        return replace(self._reranker.finish(request, scored.pairs, scored.logits), timings=scored.timings)

    def check_health(self) -> None:
        """Raise EngineLostError if the engine is lost. Ray Serve calls this regularly and replaces the replica."""
        if self._engine_lost is not None:
            raise self._engine_lost

    def describe(self) -> dict[str, Any]:
        """Return what runs here as JSON values: model, engine, device, dtype, torch version, max_length."""
        return {**self._reranker.engine.description, "max_length": self._reranker.encoder.max_length}
