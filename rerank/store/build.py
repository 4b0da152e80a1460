"""Build a snapshot: read each part once, write it to the local disk, and merge all of them range by range."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rerank.arrays import offsets_of
from rerank.store.entries import Entries, EntriesFiles, map_entries, merge
from rerank.store.folder import Folder
from rerank.store.parts import Damage, Part, read_part

_READERS = 16
_BYTES_AT_ONCE = 256 << 20
_SCRATCH = "scratch"


class Built(NamedTuple):
    """What was built: the number of pairs, and the parts that had to be left out."""

    pairs: int
    damaged: list[Damage]


def build(
    target: Path, folder: Folder, parts: Sequence[Part], *, fingerprint: str, base: Entries | None = None
) -> Built:
    """Merge `base` and parts into .npy files in `target`, which survive a power cut once this returns.

    Needs about 0.6 GB of memory whatever the size of the store: 256 MiB of parts being read, or one range being merged.
    Needs 24 bytes of disk per pair for the result, and temporarily as many for each pair of the new parts.
    Raises FileNotFoundError if a compaction has deleted a part.
    """
    lengths: list[int] = []
    damaged: list[Damage] = []
    scratch = target / _SCRATCH
    with EntriesFiles(scratch) as unmerged:
        for part in _read(folder, parts, fingerprint):
            if isinstance(part, Damage):
                damaged.append(part)
            else:
                unmerged.append(part)
                lengths.append(part.pairs)
    runs = [base] if base is not None else []
    runs += _split(map_entries(scratch, pairs=sum(lengths)), lengths)
    with EntriesFiles(target, durable=True) as merged:
        for entries in merge(runs):
            merged.append(entries)
    shutil.rmtree(scratch)
    return Built(merged.pairs, damaged)


def _read(folder: Folder, parts: Sequence[Part], fingerprint: str) -> Iterator[Entries | Damage]:
    """Read the parts concurrently, for an object store responds slowly but in parallel; yield them in order."""
    with ThreadPoolExecutor(_READERS) as pool:
        for batch in _batches(parts):
            yield from pool.map(lambda part: read_part(folder, part, fingerprint=fingerprint), batch)


def _batches(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Yield consecutive parts that fit into memory together."""
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


def _split(entries: Entries, lengths: list[int]) -> list[Entries]:
    return [entries.take(slice(start, stop)) for start, stop in pairwise(offsets_of(lengths).tolist())]
