"""128-bit keys of (query, document) pairs, hashed where the texts lie in Arrow memory."""

from itertools import repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from xxhash import xxh3_128_digest

from rerank.arrays import IntArray

Keys = npt.NDArray[np.uint64]
"""Shape [pairs, 2]: the high and the low half of each key."""

# Part of the format of a store: another seed makes other keys, and everything is scored again.
_QUERY_SEED = 0x9E37_79B9_7F4A_7C15


def pair_keys(queries: pa.Array | pa.ChunkedArray, documents: pa.Array | pa.ChunkedArray, query_of: IntArray) -> Keys:
    """The key of each pair (queries[query_of[i]], documents[i]), shape [len(documents), 2].

    Each text is hashed apart, the query with a seed of its own, and the two digests are joined by XOR: there is no
    boundary between the texts to confuse, swapped texts have another key, and a query is hashed once for all its
    documents. Two pairs share a key with probability 2**-128. A null counts as an empty text.
    """
    return join_digests(queries, text_digests(documents), query_of)


def join_digests(queries: pa.Array | pa.ChunkedArray, documents: Keys, query_of: IntArray) -> Keys:
    """`pair_keys` where the digests of the documents are known already."""
    keys: Keys = _digests(queries, seed=_QUERY_SEED)[query_of] ^ documents
    return keys


def text_digests(texts: pa.Array | pa.ChunkedArray) -> Keys:
    """128-bit xxh3 of each text's UTF-8 bytes, shape [texts, 2]; a null counts as an empty text."""
    return _digests(texts, seed=0)


def _digests(texts: pa.Array | pa.ChunkedArray, *, seed: int) -> Keys:
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    digests = b"".join(_chunk_digests(chunk, seed) for chunk in chunks)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def _chunk_digests(texts: pa.Array, seed: int) -> bytes:
    """The digests of one array, one behind the other; its texts are never copied nor decoded."""
    if not len(texts):
        return b""
    wide = texts.cast(pa.large_string())  # new offsets, the same characters (string views alone are copied)
    _, offsets, characters = wide.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[wide.offset : wide.offset + len(wide) + 1].tolist()
    spans = map(slice, bounds, bounds[1:])
    slices = map(memoryview(characters or b"").__getitem__, spans)
    return b"".join(map(xxh3_128_digest, slices, repeat(seed)))
