"""Scores that were stored after a run took its snapshot: a process that replaces a dead one looks them up."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rerank.store.entries import Entries, concatenate, distinct
from rerank.store.keys import Hashes
from rerank.store.lookup import StoredScores, find
from rerank.store.parts import Damage, Part, read_part
from rerank.store.store import ScoreStore

# The dead process stored its last part seconds before it died; older parts are not worth reading.
_NEWEST_PARTS = 1_000
_READERS = 16


def look_up_recent(store: ScoreStore, *, after_part: str) -> Callable[[Hashes], StoredScores] | None:
    """Return a lookup in the newest parts that are newer than `after_part`, held in memory; None if there are none."""
    newest = [part for part in store.parts() if part.name > after_part][-_NEWEST_PARTS:]
    with ThreadPoolExecutor(_READERS) as pool:
        runs = [entries for entries in pool.map(partial(_read, store), newest) if entries is not None]
    return partial(find, distinct(concatenate(runs))) if runs else None


def _read(store: ScoreStore, part: Part) -> Entries | None:
    try:
        entries = read_part(store.folder, part, fingerprint=store.fingerprint)
    except FileNotFoundError:  # a compaction has deleted it since the listing
        return None
    return None if isinstance(entries, Damage) else entries
