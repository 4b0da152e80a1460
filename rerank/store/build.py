"""Building a snapshot: parts are read once, laid out on the local disk, and merged range by range."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from rerank.arrays import offsets_of
from rerank.store.entries import Entries, EntriesFiles, map_entries, merge
from rerank.store.folder import Folder
from rerank.store.parts import Damage, Part, read_part

_READERS = 16
_BYTES_AT_ONCE = 256 << 20
_SCRATCH = "scratch"


def build(
    target: Path, folder: Folder, parts: Sequence[Part], *, fingerprint: str, base: Entries | None = None
) -> list[Damage]:
    """Merge `base` and parts into .npy files in `target`; gives the parts that had to be left out.

    Memory is about 0.6 GB whatever the size of the store (parts of 256 MiB being read, or one range being
    merged); disk is 24 bytes a pair for the result, and for the time of building as much again for the new parts.
    Raises FileNotFoundError where a compaction has taken a part away.
    """
    lengths: list[int] = []
    damaged: list[Damage] = []
    scratch = target / _SCRATCH
    with EntriesFiles(scratch) as gathered:
        for part in _read(folder, parts, fingerprint):
            if isinstance(part, Damage):
                damaged.append(part)
            else:
                gathered.append(part)
                lengths.append(part.pairs)
    runs = [base] if base is not None else []
    runs += _cut(map_entries(scratch), lengths)
    with EntriesFiles(target) as merged:
        for entries in merge(runs):
            merged.append(entries)
    shutil.rmtree(scratch)
    return damaged


def _read(folder: Folder, parts: Sequence[Part], fingerprint: str) -> Iterator[Entries | Damage]:
    """The parts in order, read side by side: an object store answers slowly, but many at once."""
    with ThreadPoolExecutor(_READERS) as pool:
        for batch in _batches(parts):
            yield from pool.map(lambda part: read_part(folder, part, fingerprint=fingerprint), batch)


def _batches(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Runs of parts that may be in memory together."""
    batch: list[Part] = []
    size = 0
    for part in parts:
        if batch and size + part.size > _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += part.size
    if batch:
        yield batch


def _cut(entries: Entries, lengths: list[int]) -> list[Entries]:
    return [entries.take(slice(start, stop)) for start, stop in pairwise(offsets_of(lengths).tolist())]
