"""Scores that were stored after a run took its snapshot: a process that replaces a dead one looks them up."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from rerank.store.entries import Entries, concatenate, distinct
from rerank.store.keys import Hashes
from rerank.store.lookup import StoredScores, find
from rerank.store.parts import Damage, Part, read_part
from rerank.store.snapshot import Snapshot
from rerank.store.store import ScoreStore

# The dead process stored its last part seconds before it died; older parts are not worth reading.
_NEWEST_PARTS = 1_000
# What each process may read into its own memory. A compaction makes new parts of the whole store.
_BYTES_IN_MEMORY = 64 << 20
_READERS = 16


def look_up_recent(
    store: ScoreStore, *, after_part: str, cache: Path | str | None = None, bytes_in_memory: int = _BYTES_IN_MEMORY
) -> Callable[[Hashes], StoredScores] | None:
    """Return a lookup in the newest parts that are newer than `after_part`; None if there are none.

    The newest are held in memory, up to `bytes_in_memory`. The others are looked up in a snapshot in the folder
    `cache`, which the processes of this node share; see `Snapshot.open`, also for what this raises.
    """
    newest = [part for part in store.parts() if part.name > after_part][-_NEWEST_PARTS:]
    sizes_from_newest = np.cumsum([part.size for part in reversed(newest)])
    held = int(np.searchsorted(sizes_from_newest, bytes_in_memory, side="right"))
    beyond, in_memory = newest[: len(newest) - held], newest[len(newest) - held :]
    lookups = []
    if beyond:
        lookups.append(Snapshot.open(store, cache, parts=beyond).lookup)
    if runs := _read_all(store, in_memory):
        lookups.append(partial(find, distinct(concatenate(runs))))
    return partial(_first_known, lookups) if lookups else None


def _read_all(store: ScoreStore, parts: Sequence[Part]) -> list[Entries]:
    """Return the entries of the parts that can be read."""

    def read(part: Part) -> Entries | None:
        try:
            entries = read_part(store.folder, part, fingerprint=store.fingerprint)
        except FileNotFoundError:  # a compaction has deleted it since the listing
            return None
        return None if isinstance(entries, Damage) else entries

    with ThreadPoolExecutor(_READERS) as pool:
        return [entries for entries in pool.map(read, parts) if entries is not None]


def _first_known(lookups: Sequence[Callable[[Hashes], StoredScores]], pair_hashes: Hashes) -> StoredScores:
    """Return for each pair what the first of the lookups that knows it has stored."""
    first, *others = (lookup(pair_hashes) for lookup in lookups)
    for other in others:
        first = StoredScores(
            np.where(first.known, first.logits, other.logits),
            np.where(first.known, first.tokens, other.tokens),
            first.known | other.known,
        )
    return first
