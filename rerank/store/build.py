"""Build the buckets of a snapshot: sort the parts by bucket onto the local disk, then merge bucket after bucket."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rerank.store.buckets import Buckets, bucket_count, first_hashes, write_bucket
from rerank.store.entries import RECORD, Entries, as_records, concatenate, distinct, from_records
from rerank.store.folder import Folder
from rerank.store.parts import Damage, Part, read_part

_READERS = 16
_BYTES_AT_ONCE = 64 << 20


class Built(NamedTuple):
    """What was built: the number of pairs in each bucket, and the parts that had to be left out."""

    lengths: list[int]
    damaged: list[Damage]


def build(
    target: Path, folder: Folder, parts: Sequence[Part], *, fingerprint: str, base: Buckets | None = None
) -> Built:
    """Merge `base` and parts into buckets in `target`, which survive a power cut once this returns.

    Needs up to 0.6 GB of memory whatever the size of the store: 64 MiB of parts being sorted, or one bucket being
    merged. Needs 24 bytes of disk per pair for the result, and temporarily as many for each pair of the new parts.
    Raises FileNotFoundError if a compaction has deleted a part.
    """
    known = base.pairs if base else 0
    new = sum(part.size for part in parts) // RECORD.itemsize
    count = max(bucket_count(known + new), len(base) if base else 1)
    damaged: list[Damage] = []
    for contents in _read(folder, parts, fingerprint):
        damaged += [content for content in contents if isinstance(content, Damage)]
        _sort_by_bucket(target, [content for content in contents if isinstance(content, Entries)], count)
    lengths = []
    for number in range(count):
        unmerged = _unmerged(target, number)
        runs = [base.range(number, count)] if base else []
        if unmerged.exists():
            runs.append(from_records(np.fromfile(unmerged, dtype=RECORD)))
            unmerged.unlink()
        entries = distinct(concatenate(runs)) if runs else from_records(np.empty(0, dtype=RECORD))
        write_bucket(target, number, entries)
        lengths.append(entries.pairs)
    return Built(lengths, damaged)


def _read(folder: Folder, parts: Sequence[Part], fingerprint: str) -> Iterator[list[Entries | Damage]]:
    """Read the parts concurrently, for an object store responds slowly but in parallel; yield them in order."""
    with ThreadPoolExecutor(_READERS) as pool:
        for batch in _batches(parts):
            yield list(pool.map(lambda part: read_part(folder, part, fingerprint=fingerprint), batch))


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


def _sort_by_bucket(target: Path, runs: Sequence[Entries], count: int) -> None:
    """Append the distinct pairs of these runs to the file of their bucket; of equal hashes the first run's."""
    if not runs:
        return
    entries = distinct(concatenate(runs))
    cuts = np.append(np.searchsorted(entries.high, first_hashes(count)), entries.pairs)
    records = as_records(entries)
    for number in np.flatnonzero(np.diff(cuts)).tolist():
        with _unmerged(target, number).open("ab") as file:
            file.write(records[cuts[number] : cuts[number + 1]].data)


def _unmerged(target: Path, number: int) -> Path:
    return target / f"unmerged-{number:05d}"
