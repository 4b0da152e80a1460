"""Looking after a store: what it holds, fewer and larger parts, and removing a model's scores."""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank.errors import OutputError
from rerank.store.folder import TEMPORARY
from rerank.store.parts import Damage, Part, count_pairs
from rerank.store.snapshot import Snapshot
from rerank.store.store import ScoreStore

_PAIRS_PER_PART = 4_000_000  # 96 MB: what a reader holds in memory
_ABANDONED_AFTER_S = 3_600
_READERS = 16


@dataclass(frozen=True, slots=True)
class Content:
    """What a store holds. `pairs` counts a pair again for each part that has it; `written` is in seconds since 1970."""

    model: dict[str, Any]
    pairs: int
    parts: int
    size: int
    written: float
    damaged: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did: parts and bytes before and after it, distinct pairs, and the parts it left alone."""

    pairs: int
    parts_before: int
    parts_after: int
    size_before: int
    size_after: int
    damaged: tuple[Damage, ...]


def content(store: ScoreStore) -> Content:
    """What the footers of a store's parts say: damage inside a part shows only when it is read."""
    parts = store.parts()

    def count(part: Part) -> int | Damage:
        try:
            return count_pairs(store.folder, part)
        except FileNotFoundError:  # compacted away since the listing
            return 0

    with ThreadPoolExecutor(_READERS) as pool:
        counts = list(pool.map(count, parts))
    return Content(
        model=store.description(),
        pairs=sum(count for count in counts if not isinstance(count, Damage)),
        parts=len(parts),
        size=_size(parts),
        written=max((part.written for part in parts), default=0.0),
        damaged=tuple(count for count in counts if isinstance(count, Damage)),
    )


def compact(store: ScoreStore, *, pairs_per_part: int = _PAIRS_PER_PART) -> Compaction:
    """Merge all whole parts into few sorted ones, each pair once; damaged parts are left alone.

    New parts are written before old ones are deleted, and only those are deleted that were read whole: a reader finds
    every pair at any time, and so does the next run where this one was killed. Needs 48 bytes a pair in the folder for
    temporary files. Raises OutputError.
    """
    before = store.parts()
    try:
        with tempfile.TemporaryDirectory(prefix="rerank-compact-") as scratch:
            snapshot = Snapshot.open(store, Path(scratch), parts=before)
            if len(snapshot.parts) > -(-len(snapshot) // pairs_per_part):
                for start in range(0, len(snapshot), pairs_per_part):
                    store.write(snapshot.entries.take(slice(start, start + pairs_per_part)))
                for part in snapshot.parts:
                    store.folder.delete(part.name)
        _delete_abandoned(store)
    except OSError as problem:
        raise OutputError(f"{store.folder.path}: cannot be compacted: {problem}") from problem
    after = store.parts()
    return Compaction(len(snapshot), len(before), len(after), _size(before), _size(after), tuple(snapshot.damaged))


def remove(store: ScoreStore) -> None:
    """Delete the scores of a model for good. Raises OutputError."""
    try:
        store.folder.delete_all()
    except OSError as problem:
        raise OutputError(f"{store.folder.path}: cannot be deleted: {problem}") from problem


def _size(parts: tuple[Part, ...]) -> int:
    return sum(part.size for part in parts)


def _delete_abandoned(store: ScoreStore) -> None:
    """Delete what writers that were killed left half-written."""
    for entry in store.folder.listing():
        is_old = entry.mtime is not None and time.time() - entry.mtime.timestamp() > _ABANDONED_AFTER_S
        if entry.base_name.startswith(TEMPORARY) and is_old:
            store.folder.delete(entry.base_name)
