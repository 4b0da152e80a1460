"""The score store: the durable memory of logits, so that a pair is scored once, ever.

A store is a folder (any URI that pyarrow can open) with one folder of append-only parts per model fingerprint. Actors
append a part as soon as a block is scored; a run looks pairs up in a snapshot that all workers of a node share.
"""

from rerank.store.keys import Keys, join_digests, pair_keys, text_digests
from rerank.store.lookup import Found
from rerank.store.parts import Damage, Part
from rerank.store.recent import look_up_recent
from rerank.store.snapshot import Snapshot
from rerank.store.store import ScoreStore, open_stores

__all__ = [
    "Damage",
    "Found",
    "Keys",
    "Part",
    "ScoreStore",
    "Snapshot",
    "join_digests",
    "look_up_recent",
    "open_stores",
    "pair_keys",
    "text_digests",
]
