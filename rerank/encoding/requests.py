"""Encode requests: the pairs of their queries with their documents, or with the passages of their documents."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from rerank.arrays import IntArray, offsets_of
from rerank.encoding.pairs import EncodedPairs, PairEncoder
from rerank.encoding.reading import Checkpoint, never_stop
from rerank.encoding.windows import Splitter
from rerank.errors import TooLongError
from rerank.ranking.instructions import effective_instruction
from rerank.types import RerankRequest


def encode_request(
    request: RerankRequest,
    encoder: PairEncoder,
    splitter: Splitter | None,
    instruction: str | None = None,
    checkpoint: Checkpoint = never_stop,
) -> EncodedPairs:
    """Return the pairs of a request, in document order. Raises TooLongError and InputError, see `TokenLimits`.

    With `splitter` documents are split into passages, unless the request limits the tokens of a pair: then each
    document is one text, which is truncated. `instruction` is that of a request without one. `checkpoint` is called
    before each chunk of texts; what it raises ends the work.
    """
    rows = np.arange(len(request.documents), dtype=np.int32)
    queries, query_of = _distinct(request.queries)
    if len(query_of) == 1:
        query_of = np.zeros_like(rows)
    limits = request.token_limits
    instructions = _instructions([request] * len(queries), instruction)
    if splitter is None or limits.pair is not None:
        return encoder.encode(queries, request.documents, query_of, rows, limits, checkpoint, instructions)
    sizes = splitter.sizes_with(overlap=request.passage_limits.overlap, most=request.passage_limits.most)
    windows = splitter.split(request.documents, sizes=sizes, document_tokens=limits.document, checkpoint=checkpoint)
    texts = windows.texts(request.documents)
    rows = np.arange(len(texts), dtype=np.int32)
    try:
        pairs = encoder.encode(
            queries,
            texts,
            query_of[windows.document_of],
            rows,
            replace(limits, document=None),
            checkpoint,
            instructions,
        )
    except TooLongError as error:
        raise TooLongError(int(windows.document_of[error.index]), error.most) from None
    return replace(pairs, windows=windows)


def encode_requests(
    requests: Sequence[RerankRequest],
    encoder: PairEncoder,
    splitter: Splitter | None,
    instruction: str | None = None,
) -> tuple[EncodedPairs, list[EncodedPairs]]:
    """Return the pairs of all requests, without limits of theirs, and those of each request.

    Each distinct document is tokenised once. `instruction` is that of requests without one.
    """
    instructions = _instructions(requests, instruction)
    documents, document_of = _distinct([document for request in requests for document in request.documents])
    queries = [query for request in requests for query in request.queries]
    bounds = offsets_of([len(request.documents) for request in requests])
    query_of = np.repeat(np.arange(len(requests), dtype=np.int32), np.diff(bounds))
    if splitter is None:
        pairs = encoder.encode(queries, documents, query_of, document_of, instructions=instructions)
        return pairs, [pairs.take(np.arange(start, stop)) for start, stop in pairwise(bounds)]
    windows = splitter.split(documents)
    each = [windows.of(document_of[start:stop]) for start, stop in pairwise(bounds)]
    rows = np.concatenate([windows.rows_of(document_of[start:stop]) for start, stop in pairwise(bounds)])
    bounds = offsets_of([len(own.document_of) for own in each])
    query_of = np.repeat(np.arange(len(requests), dtype=np.int32), np.diff(bounds))
    pairs = encoder.encode(
        queries, windows.texts(documents), query_of, rows.astype(np.int32), instructions=instructions
    )
    parts = [pairs.take(np.arange(start, stop)) for start, stop in pairwise(bounds)]
    return pairs, [replace(part, windows=own) for part, own in zip(parts, each, strict=True)]


def _instructions(requests: Sequence[RerankRequest], default: str | None) -> list[str] | None:
    """Return the instruction of each request, empty for none; None if none has one."""
    chosen = [effective_instruction(request.instruction, default) for request in requests]
    return chosen if any(chosen) else None


def _distinct(texts: Sequence[str]) -> tuple[list[str], IntArray]:
    """Return the distinct texts, and for each text the number of its distinct text."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    return list(row_of), np.fromiter(map(row_of.__getitem__, texts), dtype=np.int32, count=len(texts))
