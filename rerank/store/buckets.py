"""Buckets: the sorted pairs of a snapshot in one file per range of hashes, mapped when a pair of the range is needed.

Their number is a power of two, and the first bits of a hash are the number of its bucket.
"""

import os
from collections.abc import Sequence
from mmap import ACCESS_READ, MADV_RANDOM, mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rerank.arrays import offsets_of
from rerank.store.entries import RECORD, Entries, concatenate, from_records
from rerank.store.keys import Hashes
from rerank.store.lookup import StoredScores, find_in_buckets

_PAIRS_PER_BUCKET = 3_900_000  # on average, at most; a compaction then writes most buckets as one part of 4 M pairs
_EMPTY = from_records(np.empty(0, dtype=RECORD))


def bucket_count(pairs: int) -> int:
    """Return the number of buckets for so many pairs, a power of two."""
    return 1 << (max(1, -(-pairs // _PAIRS_PER_BUCKET)) - 1).bit_length()


def first_hashes(count: int) -> npt.NDArray[np.uint64]:
    """Return the lowest high half of a hash in each of `count` buckets."""
    bits = count.bit_length() - 1
    return np.arange(count, dtype=np.uint64) * np.uint64((1 << (64 - bits)) % (1 << 64))


def write_bucket(folder: Path, number: int, entries: Entries) -> None:
    """Write sorted, distinct entries as a bucket, column by column. It is durable when this returns. Raises OSError."""
    with _path(folder, number).open("wb") as file:
        for name, column in entries._asdict().items():
            file.write(np.ascontiguousarray(column, dtype=RECORD[name]).data)
        file.flush()
        os.fsync(file.fileno())


class Buckets:
    """The buckets of a folder, which the processes of a node share. Nothing is opened before it is needed."""

    def __init__(self, folder: Path, lengths: Sequence[int]) -> None:
        """Check the sizes of the files; `lengths` are the pairs of each bucket.

        Raises FileNotFoundError if a file is missing, and ValueError if one has another size.
        """
        if len(lengths).bit_count() != 1:
            raise ValueError(f"{folder}: the number of buckets must be a power of two, got {len(lengths)}")
        for number, pairs in enumerate(lengths):
            size = _path(folder, number).stat().st_size
            if size != pairs * RECORD.itemsize:
                raise ValueError(f"{_path(folder, number)}: has {size} bytes, expected {pairs} pairs")
        self._folder = folder
        self._offsets = offsets_of(lengths)
        self._opened: dict[int, Entries] = {}
        # Reading ahead brings a store that fits into memory there soon, and would do nothing but read for a larger one.
        self._at_random = self.pairs * RECORD.itemsize > _memory() // 2

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def pairs(self) -> int:
        """Return the number of pairs in all buckets."""
        return int(self._offsets[-1])

    @property
    def opened(self) -> int:
        """Return the number of buckets that this process has opened."""
        return len(self._opened)

    def range(self, number: int, count: int) -> Entries:
        """Return the entries of bucket `number` of `count`, which are as many as there are here, or more."""
        entries = self._read(number * len(self) // count)
        cuts = np.searchsorted(entries.high, first_hashes(count)[number : number + 2]).tolist()
        return entries.take(slice(*cuts) if number + 1 < count else slice(cuts[0], None))

    def rows(self, start: int, stop: int) -> Entries:
        """Return the entries from number `start` to `stop`, counted over all buckets."""
        first, last = np.searchsorted(self._offsets, [start, min(stop, self.pairs) - 1], side="right") - 1
        pieces = []
        for number in range(int(first), int(last) + 1):
            before = int(self._offsets[number])
            pieces.append(self._read(number).take(slice(max(0, start - before), stop - before)))
        return concatenate(pieces)

    def lookup(self, pair_hashes: Hashes) -> StoredScores:
        """Return the stored values of pairs with these hashes, shape [pairs, 2]. Opens only the buckets of these pairs.

        The pairs of a bucket that something deleted are unknown.
        """
        return find_in_buckets(self._open, first_hashes(len(self)), pair_hashes)

    def _open(self, number: int) -> Entries:
        if number not in self._opened:
            try:
                self._opened[number] = _map(_path(self._folder, number), at_random=self._at_random)
            except FileNotFoundError:
                return _EMPTY
        return self._opened[number]

    def _read(self, number: int) -> Entries:
        """Return the entries of a bucket, in memory of this process."""
        content = _path(self._folder, number).read_bytes()
        return _columns(content, len(content) // RECORD.itemsize)


def _path(folder: Path, number: int) -> Path:
    return folder / f"bucket-{number:05d}"


def _map(path: Path, *, at_random: bool) -> Entries:
    """Return the entries of a bucket, mapped. `at_random` reads the pages that are touched and none around them."""
    pairs = path.stat().st_size // RECORD.itemsize
    if not pairs:
        return _EMPTY  # an empty file cannot be mapped
    with path.open("rb") as file:
        content = mmap(file.fileno(), 0, access=ACCESS_READ)
    if at_random:
        content.madvise(MADV_RANDOM)
    return _columns(content, pairs)


def _columns(content: mmap | bytes, pairs: int) -> Entries:
    columns, start = [], 0
    for name in Entries._fields:
        columns.append(np.frombuffer(content, RECORD[name], pairs, start))
        start += pairs * RECORD[name].itemsize
    return Entries(*columns)


def _memory() -> int:
    """Return the memory of this machine, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
