"""The score store: logits on disk, so that no pair has to be scored twice by the same model.

A store is a folder (any URI that pyarrow can open) with one folder of append-only parts per model fingerprint. Actors
append a part as soon as a block is scored; a run looks up pairs in a snapshot that all workers of a node share.
"""

from rerank.store.keys import Hashes, distinct_hashes, hash_pairs, hash_texts, hash_vectors, join_digests
from rerank.store.lookup import StoredScores
from rerank.store.parts import Damage, Part
from rerank.store.recent import look_up_recent
from rerank.store.snapshot import Snapshot
from rerank.store.store import ScoreStore, open_stores

__all__ = [
    "Damage",
    "StoredScores",
    "Hashes",
    "Part",
    "ScoreStore",
    "Snapshot",
    "distinct_hashes",
    "join_digests",
    "look_up_recent",
    "open_stores",
    "hash_pairs",
    "hash_texts",
    "hash_vectors",
]
