"""128-bit hashes of (query, document) pairs, computed where the texts or vectors lie in Arrow memory."""

from itertools import repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_digest

from rerank.arrays import IntArray, VectorRows

Hashes = npt.NDArray[np.uint64]
"""Shape [pairs, 2] or [texts, 2]: the high and the low half of each hash."""

# Part of the format of a store: with another seed all pairs have other hashes, and everything is scored again.
_QUERY_SEED = 0x9E37_79B9_7F4A_7C15
_VECTORS_SEED = 0xD1B5_4A32_D192_ED03
_INSTRUCTION_SEED = 0x8EBC_6AF0_9C88_C6E3


def hash_pairs(
    queries: pa.Array | pa.ChunkedArray, documents: pa.Array | pa.ChunkedArray, query_of: IntArray
) -> Hashes:
    """Return the hash of each pair (queries[query_of[i]], documents[i]), shape [len(documents), 2].

    The two texts are hashed separately, the query with its own seed, and the hashes are combined by XOR. So the
    boundary between the texts counts, swapped texts have another hash, and a query is hashed once for all its
    documents. Two different pairs have the same hash with probability 2**-128. A null counts as an empty text.
    """
    return join_digests(queries, hash_texts(documents), query_of)


def join_digests(
    queries: pa.Array | pa.ChunkedArray,
    documents: Hashes,
    query_of: IntArray,
    instructions: pa.Array | None = None,
) -> Hashes:
    """Return what `hash_pairs` returns; `documents` are the texts' hashes, as `hash_texts` returns them.

    `instructions` [queries] change the hashes of queries that have one; it is null or empty where a query has none.
    """
    of_queries = _digests(queries, seed=_QUERY_SEED)
    if instructions is not None:
        has_one = pc.fill_null(pc.greater(pc.binary_length(instructions), 0), False).to_numpy(zero_copy_only=False)
        of_queries = np.where(has_one[:, None], of_queries ^ _digests(instructions, seed=_INSTRUCTION_SEED), of_queries)
    pair_hashes: Hashes = of_queries[query_of] ^ documents
    return pair_hashes


def hash_texts(texts: pa.Array | pa.ChunkedArray) -> Hashes:
    """Return the 128-bit xxh3 of each text's UTF-8 bytes, shape [texts, 2]; a null counts as an empty text."""
    return _digests(texts, seed=0)


def distinct_hashes(hashes: Hashes) -> tuple[npt.NDArray[np.intp], IntArray]:
    """Return the first row of each distinct hash, and for each row the number of its distinct hash."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(hashes))]
    values = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(hashes), buffers)
    codes = values.dictionary_encode().indices.to_numpy()
    return np.unique(codes, return_index=True)[1], codes


def hash_vectors(rows: VectorRows) -> Hashes:
    """Return the 128-bit xxh3 of each document's vectors, shape [documents, 2], with a seed that no text has.

    The bytes are hashed as they are: the same numbers in float16 and float32 have different hashes.
    """
    values = np.ascontiguousarray(rows.values).ravel().view(np.uint8).data
    bounds = (rows.offsets * (rows.values.shape[1] * rows.values.itemsize)).tolist()
    slices = map(values.__getitem__, map(slice, bounds, bounds[1:]))
    return _as_hashes(b"".join(map(xxh3_128_digest, slices, repeat(_VECTORS_SEED))))


def _as_hashes(digests: bytes) -> Hashes:
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def _digests(texts: pa.Array | pa.ChunkedArray, *, seed: int) -> Hashes:
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    return _as_hashes(b"".join(_chunk_digests(chunk, seed) for chunk in chunks))


def _chunk_digests(texts: pa.Array, seed: int) -> bytes:
    """Return the concatenated digests of an array's texts, which are neither copied nor decoded."""
    if not len(texts):
        return b""
    large = texts.cast(pa.large_string())  # new offsets, the same characters (only string views are copied)
    _, offsets, characters = large.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[large.offset : large.offset + len(large) + 1].tolist()
    spans = map(slice, bounds, bounds[1:])
    slices = map(memoryview(characters or b"").__getitem__, spans)
    return b"".join(map(xxh3_128_digest, slices, repeat(seed)))
