"""Maintain a store: count its content, merge its parts into fewer ones, delete a model's scores."""

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
    """What a store holds.

    `pairs` counts a pair once per part that holds it. `size` is in bytes. `written` is the time of the newest part, in
    seconds since 1970.
    """

    model: dict[str, Any]
    pairs: int
    parts: int
    size: int
    written: float
    damaged: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did: distinct pairs, parts and bytes before and after, and damaged parts, which it kept."""

    pairs: int
    parts_before: int
    parts_after: int
    size_before: int
    size_after: int
    damaged: tuple[Damage, ...]


def content(store: ScoreStore) -> Content:
    """Return what a store holds by the footers of its parts; damage inside a part shows only when it is read."""
    parts = store.parts()

    def count(part: Part) -> int | Damage:
        try:
            return count_pairs(store.folder, part)
        except FileNotFoundError:  # a compaction has deleted it since the listing
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
    """Merge all readable parts into few sorted ones that hold each pair once; damaged parts are kept as they are.

    New parts are durable before old ones are deleted, and only parts that were read completely are deleted: readers
    find every pair at any time, and also after a compaction was killed or the power failed. Needs 48 bytes per pair in
    the folder for temporary files. Raises OutputError.
    """
    before = store.parts()
    try:
        with tempfile.TemporaryDirectory(prefix="rerank-compact-") as scratch:
            snapshot = Snapshot.open(store, Path(scratch), parts=before)
            if len(snapshot.parts) > -(-len(snapshot) // pairs_per_part):
                for start in range(0, len(snapshot), pairs_per_part):
                    store.write(snapshot.buckets.rows(start, start + pairs_per_part))
                for part in snapshot.parts:
                    store.folder.delete(part.name)
        _delete_abandoned(store)
    except OSError as problem:
        raise OutputError(f"{store.folder.path}: cannot be compacted: {problem}") from problem
    after = store.parts()
    return Compaction(len(snapshot), len(before), len(after), _size(before), _size(after), tuple(snapshot.damaged))


def remove(store: ScoreStore) -> None:
    """Delete the scores of a model permanently. Raises OutputError."""
    try:
        store.folder.delete_all()
    except OSError as problem:
        raise OutputError(f"{store.folder.path}: cannot be deleted: {problem}") from problem


def _size(parts: tuple[Part, ...]) -> int:
    return sum(part.size for part in parts)


def _delete_abandoned(store: ScoreStore) -> None:
    """Delete temporary files that killed writers left behind."""
    for entry in store.folder.listing():
        is_old = entry.mtime is not None and time.time() - entry.mtime.timestamp() > _ABANDONED_AFTER_S
        if entry.base_name.startswith(TEMPORARY) and is_old:
            store.folder.delete(entry.base_name)
