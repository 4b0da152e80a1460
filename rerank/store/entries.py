"""Stored pairs as parallel arrays: sorted, merged, and kept in .npy files that all processes of a node can map."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rerank.arrays import FloatArray, IntArray
from rerank.store.keys import Hashes

_DTYPES = {"high": np.uint64, "low": np.uint64, "logit": np.float32, "tokens": np.int32}
_PAIRS_PER_RANGE = 4_000_000


class Entries(NamedTuple):
    """Stored pairs, one per row of each array: both halves of the pair hash, logit, tokens. 24 bytes per pair."""

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    logit: FloatArray
    tokens: IntArray

    @classmethod
    def of(cls, pair_hashes: Hashes, logits: npt.ArrayLike, tokens: npt.ArrayLike) -> "Entries":
        """Return entries for pair hashes [pairs, 2], logits [pairs] and tokens [pairs]."""
        return cls(
            pair_hashes[:, 0],
            pair_hashes[:, 1],
            np.asarray(logits, dtype=np.float32),
            np.asarray(tokens, dtype=np.int32),
        )

    @property
    def pairs(self) -> int:
        """Return the number of entries (`len` would count the arrays)."""
        return len(self.high)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice) -> "Entries":
        """Return the entries in these rows."""
        return Entries(self.high[rows], self.low[rows], self.logit[rows], self.tokens[rows])


def concatenate(runs: Sequence[Entries]) -> Entries:
    """Return the entries of all runs, concatenated."""
    return Entries(*(np.concatenate(columns) for columns in zip(*runs, strict=True)))


def distinct(entries: Entries) -> Entries:
    """Return the entries sorted by hash; of equal hashes the first is kept."""
    rows = np.argsort(entries.high, kind="stable")  # a merge sort: fast on runs that are sorted already
    ordered = entries.take(rows)
    tied = ordered.high[1:] == ordered.high[:-1]
    if np.any(tied & (ordered.low[1:] != ordered.low[:-1])):
        ordered = entries.take(np.lexsort((entries.low, entries.high)))
        tied = ordered.high[1:] == ordered.high[:-1]
    repeated = np.flatnonzero(tied & (ordered.low[1:] == ordered.low[:-1])) + 1
    return ordered if not len(repeated) else ordered.take(np.delete(np.arange(ordered.pairs), repeated))


def merge(runs: Sequence[Entries], *, pairs_per_range: int = _PAIRS_PER_RANGE) -> Iterator[Entries]:
    """Merge sorted runs: yield their distinct entries in pieces of ascending hashes; equal hashes: the first run's.

    Hashes are evenly distributed, so that ranges of equal width hold about equally many pairs. Needs the memory of one
    range (about 60 bytes per pair), however many pairs the runs hold.
    """
    total = sum(run.pairs for run in runs)
    ranges = max(1, -(-total // pairs_per_range))
    bounds = np.arange(1, ranges, dtype=np.uint64) * np.uint64((2**64 - 1) // ranges)
    cuts = [[0, *np.searchsorted(run.high, bounds).tolist(), run.pairs] for run in runs]
    for piece in range(ranges if total else 0):
        yield distinct(
            concatenate([run.take(slice(cut[piece], cut[piece + 1])) for run, cut in zip(runs, cuts, strict=True)])
        )


class EntriesFiles:
    """Four .npy files in a folder that grow with each `append` and are complete once closed.

    `durable` files survive a power cut from then on.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._durable = durable
        self._files = {name: (folder / f"{name}.npy").open("wb") for name in _DTYPES}
        self.pairs = 0
        self._write_headers()

    def append(self, entries: Entries) -> None:
        """Add entries at the end."""
        for name, column in entries._asdict().items():
            self._files[name].write(np.ascontiguousarray(column, dtype=_DTYPES[name]).data)
        self.pairs += entries.pairs

    def __enter__(self) -> "EntriesFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write_headers()
        for file in self._files.values():
            if self._durable:
                file.flush()
                os.fsync(file.fileno())
            file.close()

    def _write_headers(self) -> None:
        # numpy pads the header, so that the length in it can be overwritten by a larger one.
        for name, file in self._files.items():
            file.seek(0)
            header = {"descr": np.dtype(_DTYPES[name]).str, "fortran_order": False, "shape": (self.pairs,)}
            np.lib.format.write_array_header_1_0(file, header)


def map_entries(folder: Path, *, pairs: int) -> Entries:
    """Return the entries in a folder of .npy files, memory-mapped: the processes of a node share one copy.

    Raises FileNotFoundError if a file is missing, and ValueError or EOFError if one does not hold `pairs` values.
    """
    arrays = [np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _DTYPES]
    for array, (name, dtype) in zip(arrays, _DTYPES.items(), strict=True):
        if array.shape != (pairs,) or array.dtype != dtype:
            raise ValueError(f"{folder}/{name}.npy: holds {array.dtype} {array.shape}, expected {pairs} of {dtype}")
    return Entries(*arrays)
