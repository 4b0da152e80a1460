"""What was stored a moment ago, after a run took its snapshot: for a process that takes the place of a dead one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rerank.store.entries import Entries, concatenate, distinct
from rerank.store.keys import Keys
from rerank.store.lookup import Found, find
from rerank.store.parts import Damage, Part, read_part
from rerank.store.store import ScoreStore

# A dead process stored its part within seconds of its death: more than these would be read for nothing.
_NEWEST_PARTS = 1_000
_READERS = 16


def look_up_recent(store: ScoreStore, *, after_part: str) -> Callable[[Keys], Found] | None:
    """A lookup in the newest parts whose names come after `after_part`, held in memory; None where there are none."""
    newest = [part for part in store.parts() if part.name > after_part][-_NEWEST_PARTS:]
    with ThreadPoolExecutor(_READERS) as pool:
        runs = [entries for entries in pool.map(partial(_read, store), newest) if entries is not None]
    return partial(find, distinct(concatenate(runs))) if runs else None


def _read(store: ScoreStore, part: Part) -> Entries | None:
    try:
        entries = read_part(store.folder, part, fingerprint=store.fingerprint)
    except FileNotFoundError:  # compacted away since the listing
        return None
    return None if isinstance(entries, Damage) else entries
