"""The actor of the job and of the server: it ranks blocks of candidate sets for one, single requests for the other."""

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from rerank.arrays import FloatArray
from rerank.batching.admission import MAX_WAITING_BYTES
from rerank.batching.batcher import Batcher
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.encoding.reading import Checkpoint
from rerank.encoding.texts import TextEncoder, Texts
from rerank.engines import Engine, Kind, VectorEngine
from rerank.errors import EngineLostError, InputError, ModelError, UnavailableError
from rerank.isolation.attempts import ScoringAttempts
from rerank.ranking.instructions import effective_instruction, in_front
from rerank.ranking.options import DEFAULT_OPTIONS, RankingOptions
from rerank.reranker import Reranker
from rerank.store import ScoreStore, look_up_recent
from rerank.tables.prepared import look_up_again
from rerank.types import BatchReport, EncodeRequest, EncodeResult, RerankRequest, RerankResult

_MOST_TOKENS = 65_536  # of the texts of a request that get a vector for each token: 32 MiB of vectors 128 wide


class RerankActor:
    """A model on a device, ready to rank tables (`__call__`, for Ray Data) and requests (`rerank`, for Ray Serve).

    It imports neither Ray Data nor Ray Serve: `Dataset.map_batches(RerankActor, batch_format="pyarrow", …)` runs it as
    it is. `__call__` and `rerank` are two ways to use it; one actor is used in one of them. `encode` stands beside
    `rerank`, for models that encode texts by themselves.
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
        finish_block: Callable[[pa.Table], pa.Table] | None = None,
        engine: Engine | None = None,
        encoder: PairEncoder | None = None,
        preload: bool = True,
        max_waiting_pairs: int = 16_384,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        on_batch: Callable[[BatchReport], None] | None = None,
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
        - `finish_block`: what becomes of a ranked block before it is returned, for a stage of a cascade

        For `rerank` and `encode`: `max_waiting_pairs` and `max_waiting_bytes`, the number of unfinished pairs, and the
        bytes of their texts, above which requests are refused. A text to encode counts as a pair. `on_batch` is called
        after each batch.

        `engine` and `encoder` replace what the model would bring. `preload=False` loads the model when the first pair
        has to be scored, which may be never; what that needs is imported meanwhile.
        """
        self._reranker = Reranker(config, engine=engine, encoder=encoder)
        self._options = options
        self._engine_lost: EngineLostError | None = None
        self._on_block, self._on_progress = on_block, on_progress
        self._save_scores = store.append if store is not None else None
        self._look_up_recent = look_up_recent(store, after_part=after_part) if store is not None else None
        self._attempts, self._finish_block = attempts, finish_block
        self._batcher = Batcher(
            self._reranker.encode,
            lambda pairs: self._reranker.engine.score(pairs).logits,
            encode_texts=self._encode_texts,
            vectors=self._vectors,
            lanes=lambda: self._reranker.engine.lanes,
            batch_tokens=config.batch_tokens,
            max_waiting_pairs=max_waiting_pairs,
            max_waiting_bytes=max_waiting_bytes,
            on_batch=on_batch,
        )
        # Load in the thread that scores requests: OpenMP keeps one team of threads per computing thread, and small
        # batches take a tenth longer once two teams have more threads than there are cores.
        if preload:
            self._batcher.call(lambda: self._reranker.engine)
        else:
            self._reranker.import_engine()

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
        return ranked if self._finish_block is None else self._finish_block(ranked)

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Return the ranked documents of one request; its pairs share batches with those of concurrent requests.

        Cancelling the call drops the pairs that are not scored yet. Raises OverloadedError at once if too many pairs
        are queued, DeadlineError after `timeout_s` seconds, TooLongError (see `TokenLimits`), ModelError if a logit is
        not finite, and EngineLostError for the requests of the batch in which the engine was lost. From then on
        `check_health` raises it too, and other requests, which cannot be the cause, raise UnavailableError.
        """
        with self._noting_losses():
            scored = await self._batcher.score(request)
        return replace(self._reranker.finish(request, scored.pairs, scored.logits), timings=scored.timings)

    async def encode(self, request: EncodeRequest) -> EncodeResult:
        """Return the vectors of texts, float32; they share batches with the pairs and texts of concurrent requests.

        Raises InputError if the model gives no vectors or other outputs than the request expects, or if the vectors
        would be too many, and otherwise as `rerank` does.
        """
        output = self._text_encoder.output
        if others := [other for other in request.outputs if other != output]:
            raise InputError(f"the output of this model is {output!r}, got {', '.join(map(repr, others))}")
        with self._noting_losses():
            encoded = await self._batcher.encode(request)
        return EncodeResult(output, encoded.vectors, int(encoded.texts.lengths.sum()), encoded.timings)

    @contextmanager
    def _noting_losses(self) -> Iterator[None]:
        """Note the loss of the engine. Raises UnavailableError for requests that met it when it was lost already."""
        try:
            yield
        except EngineLostError as problem:
            if self._engine_lost not in (None, problem):
                raise UnavailableError("the model's engine was lost, a new one is started, retry later") from problem
            self._engine_lost = problem
            raise

    @property
    def _text_encoder(self) -> TextEncoder:
        """Return the encoder. Raises InputError if the model is of a kind that gives no vectors."""
        encoder = self._reranker.encoder
        if not isinstance(encoder, TextEncoder):
            kinds = f"{Kind.LATE_INTERACTION.value!r} and {Kind.VECTOR.value!r}"
            raise InputError(f"this model gives scores and no vectors, models of the kinds {kinds} can encode")
        return encoder

    def _encode_texts(self, request: EncodeRequest, checkpoint: Checkpoint) -> Texts:
        encoder = self._text_encoder
        own_texts: Sequence[str] = request.texts
        if request.is_query:
            instruction = effective_instruction(request.instruction, self._reranker.config.instruction)
            own_texts = in_front(request.texts, [instruction] * request.size)
        texts = encoder.encode_texts(own_texts, is_query=request.is_query, checkpoint=checkpoint)
        tokens = int(texts.lengths.sum())
        if encoder.output == "multivector" and tokens > _MOST_TOKENS:
            raise InputError(f"texts must have at most {_MOST_TOKENS} tokens together, got {tokens}")
        return texts

    def _vectors(self, texts: Texts) -> list[FloatArray]:
        """Return the vectors of texts. Raises ModelError if one of them is not finite."""
        vectors = cast(VectorEngine, self._reranker.engine).vectors(texts)  # the engine of a TextEncoder
        if not all(np.isfinite(each).all() for each in vectors):
            raise ModelError(f"{self._reranker.config.model!r} gave vectors that are not finite")
        return vectors

    def check_health(self) -> None:
        """Raise EngineLostError if the engine is lost. Ray Serve calls this regularly and replaces the replica."""
        if self._engine_lost is not None:
            raise self._engine_lost

    def describe(self) -> dict[str, Any]:
        """Return what runs here as JSON values: model, engine, device, dtype, torch version, max_length, outputs."""
        encoder = self._reranker.encoder
        outputs = ["score", encoder.output] if isinstance(encoder, TextEncoder) else ["score"]
        return {**self._reranker.engine.description, "max_length": encoder.max_length, "outputs": outputs}
