"""The engine of all kinds that encode texts by themselves: each distinct text once, then the products of vectors."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.utils.dlpack import from_dlpack
from xxhash import xxh3_128_hexdigest

from rerank.arrays import FloatArray, IntArray, Offsets, Ragged, VectorRows, offsets_of
from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.texts import Texts
from rerank.engines.batches.runner import BatchRunner, Rows
from rerank.engines.contract import Scores
from rerank.engines.forward.families import is_stateless
from rerank.engines.forward.text_states import TextStates, TextStatesPacked, TextStatesPadded, can_pack
from rerank.engines.kinds import kind_of
from rerank.engines.texts.vector_cache import VectorCache
from rerank.max_similarity import NO_VECTORS, chunks_of, sum_of_maxima
from rerank.store import hash_vectors


class TextModel(Protocol):
    """A loaded model that encodes queries and documents by themselves."""

    @property
    def transformer(self) -> Any:
        """Return its Transformer module of sentence-transformers."""
        ...

    @property
    def takes_mean(self) -> bool:
        """Return whether the logit is the mean over the vectors of the query instead of their sum."""
        ...

    def attended(self, texts: Texts) -> Offsets:
        """Return how many of the first tokens of each text are attended to, [texts]."""
        ...

    def vectors(self, states: torch.Tensor, texts: Texts) -> tuple[torch.Tensor, Offsets]:
        """Return the vectors of texts from their tokens' states [tokens, width], and how many each has [texts].

        `states` may have further tokens at the end.
        """
        ...


_NO_LOGITS = np.empty(0, dtype=np.float32)

Loader = Callable[[ScorerConfig, torch.device, torch.dtype], TextModel]


class TextEngine:
    """A model that encodes queries and documents by themselves."""

    def __init__(self, config: ScorerConfig, load: Loader, *, packed: bool | None = None) -> None:
        """Load the model. `packed` forces or forbids packing; None: pack if model family and device can.

        Raises ModelError or ConfigError.
        """
        self._runner = runner = BatchRunner(config)
        self._model = load(config, runner.device, runner.dtype)
        transformer = self._model.transformer
        pack = can_pack(transformer, runner.device, runner.dtype) if packed is None else packed
        self._states: TextStates
        runner.fit_layers(transformer.model, config.model, is_known=pack)
        if pack:
            self._states = TextStatesPacked(transformer, runner.device)
        else:
            self._states = TextStatesPadded(transformer, runner.device)
        width = getattr(transformer.model.config, "hidden_size", None)
        runner.fit(width=width, padded=self._states.padded, is_stateless=is_stateless(transformer.model))
        self.lanes = runner.lanes
        self._stored_dtype = torch.float32 if runner.dtype == torch.float32 else torch.float16
        self.cache = VectorCache(config.vector_cache)
        self.description = {
            "model": config.model,
            "kind": kind_of(config).value,
            "engine": "padded" if self._states.padded else "packed",
            **runner.describe(),
        }

    def score(self, pairs: EncodedPairs) -> Scores:
        """Return the logit of each pair: MaxSim of the vectors of both texts, NaN where one has no tokens.

        Documents that came with vectors are not encoded: their vectors are compared as they are. Raises
        EngineLostError if the device no longer responds, otherwise whatever the model raises.
        """
        logits = np.full(len(pairs), np.nan, dtype=np.float32)
        brought = np.zeros(len(pairs.documents), dtype=np.int64) if pairs.vectors is None else pairs.vectors.lengths
        has_document = (pairs.document_lengths > 0) | (brought[pairs.document_of] > 0)
        scorable = np.flatnonzero((pairs.query_lengths > 0) & has_document)
        if not len(scorable):
            return Scores(logits, 0)
        queries, query_of = np.unique(pairs.query_of[scorable], return_inverse=True)
        documents, document_of = np.unique(pairs.document_of[scorable], return_inverse=True)
        is_brought = brought[documents] > 0
        tokens = _joined(pairs.queries.take(queries), pairs.documents.take(documents[~is_brought]))
        keys, vectors, tally = self._encode(Texts(tokens, np.arange(len(tokens)) < len(queries)))
        if pairs.vectors is not None:
            brought_keys, brought_vectors = self._brought(pairs.vectors.take(documents[is_brought]))
            keys, vectors = keys + brought_keys, vectors | brought_vectors
        # Equal texts are compared once, so that their logits are equal to the last bit, and ties keep their order.
        place_of = {key: place for place, key in enumerate(vectors)}
        places = np.array([place_of[key] for key in keys])
        # Behind the keys of the queries come those of the documents with tokens, then those of the others.
        key_of = np.empty(len(documents), dtype=np.intp)
        key_of[np.argsort(is_brought, kind="stable")] = np.arange(len(documents)) + len(queries)
        logits[scorable] = self._compare(
            list(vectors.values()), places[: len(queries)][query_of], places[key_of[document_of]]
        )
        return replace(tally, logits=logits)

    def forget(self) -> None:
        """Forget the vectors of all texts; for benchmarks."""
        self.cache = VectorCache(self.cache.most_bytes)

    def encode(self, texts: Texts) -> list[torch.Tensor]:
        """Return the vectors [its vectors, width] of each text."""
        keys, vectors, _ = self._encode(texts)
        return [vectors[key] for key in keys]

    def _encode(self, texts: Texts) -> tuple[list[str], dict[str, torch.Tensor], Scores]:
        """Return the key of each text, the vectors by key, and what they took, as Scores without logits."""
        keys = _keys(texts)
        vectors = self.cache.get(keys)
        missing = {key: row for row, key in enumerate(keys) if key not in vectors}
        chosen = texts.take(np.fromiter(missing.values(), dtype=np.intp, count=len(missing)))
        lengths = chosen.tokens.lengths
        batches, outputs = self._runner.run(lengths, partial(self._encode_batch, chosen))
        names = list(missing)
        new: dict[str, torch.Tensor] = {}
        for batch, (states, counts) in zip(batches, outputs, strict=True):
            parts = states.to(self._stored_dtype).split(counts.tolist())
            new |= {names[row]: part.clone() for row, part in zip(batch, parts, strict=True)}
        self.cache.put(new)
        computed = sum(self._states.computed_tokens(lengths[batch]) for batch in batches)
        tally = Scores(
            _NO_LOGITS,
            computed,
            padding_tokens=computed - int(lengths.sum()),
            texts=len(vectors) + len(new),
            remembered_texts=len(vectors),
        )
        return keys, vectors | new, tally

    def _brought(self, rows: VectorRows) -> tuple[list[str], dict[str, torch.Tensor]]:
        """Return the keys of documents that came with vectors, and the vectors on the device by key."""
        keys = [f"v{high:016x}{low:016x}" for high, low in hash_vectors(rows).tolist()]
        # By way of Arrow, for torch warns of numpy arrays that are read-only.
        values = from_dlpack(pa.array(rows.values.ravel())).reshape(-1, rows.values.shape[1])
        parts: tuple[torch.Tensor, ...] = torch.split(values.to(self._runner.device), rows.lengths.tolist())
        return keys, dict(zip(keys, parts, strict=True))

    def vectors(self, texts: Texts) -> list[FloatArray]:
        """Return the vectors [its vectors, width] of each text, for use outside of the engine."""
        vectors = self.encode(texts)
        joined = torch.cat(vectors).float().cpu().numpy()  # one copy from the device for all texts
        return np.split(joined, np.cumsum([len(each) for each in vectors])[:-1])

    def _encode_batch(self, texts: Texts, rows: Rows) -> tuple[torch.Tensor, Offsets]:
        batch = texts.take(rows)
        states = self._states(batch.tokens.values, batch.tokens.offsets, self._model.attended(batch))
        return self._model.vectors(states, batch)

    @torch.inference_mode()
    def _compare(
        self, vectors: Sequence[torch.Tensor], query_of: npt.NDArray[np.intp], document_of: npt.NDArray[np.intp]
    ) -> FloatArray:
        """Return the logits of pairs of these vectors: matrix products of a query with all its distinct documents."""
        logits = np.empty(len(query_of), dtype=np.float32)
        lengths = np.array([len(each) for each in vectors], dtype=np.int64)
        order = np.argsort(query_of, kind="stable")
        for pairs in np.split(order, np.flatnonzero(np.diff(query_of[order])) + 1):
            query = vectors[query_of[pairs[0]]].float()
            documents, place_of = np.unique(document_of[pairs], return_inverse=True)
            scores = np.full(len(documents), NO_VECTORS, dtype=np.float32)
            for places in chunks_of(lengths[documents]):
                joined = torch.cat([vectors[document] for document in documents[places]]).float()
                scores[places] = _sum_of_maxima(query @ joined.T, lengths[documents[places]])
            logits[pairs] = scores[place_of] / (max(1, len(query)) if self._model.takes_mean else 1)
        return logits


def _sum_of_maxima(products: torch.Tensor, lengths: Offsets) -> FloatArray:
    """Return MaxSim as `rerank.max_similarity.sum_of_maxima` does; on CUDA without a copy of the products."""
    if not products.is_cuda:
        return sum_of_maxima(products.numpy(), offsets_of(lengths))
    counts = torch.from_numpy(lengths).to(products.device)
    maxima = torch.segment_reduce(products.T.contiguous(), "max", lengths=counts, unsafe=True)
    scores: FloatArray = maxima.sum(1).cpu().numpy()
    return scores


def _joined(first: Ragged, second: Ragged) -> Ragged:
    values: IntArray = np.concatenate([first.values, second.values])
    return Ragged(values, offsets_of(np.concatenate([first.lengths, second.lengths])))


def _keys(texts: Texts) -> list[str]:
    """Return a name of each text: a query's vectors differ from those of a document with the same tokens."""
    bounds = texts.tokens.offsets.tolist()
    values = np.ascontiguousarray(texts.tokens.values)
    return [
        f"{is_query:d}{xxh3_128_hexdigest(values[start:stop].data)}"
        for is_query, start, stop in zip(texts.is_query.tolist(), bounds[:-1], bounds[1:], strict=True)
    ]
