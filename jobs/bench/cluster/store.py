"""`rerank bench store`: build a snapshot of many stored pairs and look pairs up in it; time, memory, bytes read."""

import os
import resource
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer

from jobs.bench.options import Output, report
from jobs.console import plural, say
from jobs.exits import exit_codes
from jobs.pipeline.counts import peak_memory
from rerank.errors import OutputError
from rerank.store import Hashes, ScoreStore, Snapshot

_BLOCKS = 20
_WARM_ROUNDS = 3
_FINGERPRINT = "benchmark"


def store(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder on the disk to measure; a temporary one if left out.")
    ] = None,
    pairs: Annotated[int, typer.Option(min=1000, help="Stored pairs; 72 bytes of disk each.")] = 1_000_000,
    part_pairs: Annotated[int, typer.Option(min=1, help="Pairs per part of the store.")] = 100_000,
    new: Annotated[float, typer.Option(min=0, max=1, help="Share of pairs that a second build adds.")] = 0.03,
    block_pairs: Annotated[int, typer.Option(min=1, help="Pairs that are looked up at once.")] = 8_192,
    output: Output = None,
) -> None:
    """Build a snapshot of a synthetic score store, look up blocks of which it knows half, and extend it.

    Each step runs in a process of its own. Look-ups are cold if nothing of the snapshot is in memory before the first
    one. They are measured as for a store that fits into memory, and as for one that does not.
    """
    with exit_codes(), TemporaryDirectory(dir=folder, prefix="rerank-store-") as scratch:
        result = measure(Path(scratch), pairs=pairs, part_pairs=part_pairs, new=new, block_pairs=block_pairs)
        for name in ("build", "extend"):
            step = result[name]
            say(
                f"{name}: {plural(step['pairs'], 'pair')} in {plural(step['buckets'], 'bucket')}, "
                f"{step['seconds']:,.1f} s, {step['cpu_seconds']:,.1f} CPU s, "
                f"at most {step['peak_memory_bytes'] / 2**20:,.0f} MiB"
            )
        for name, title in (("lookup", "look-up"), ("lookup_beyond_memory", "look-up beyond memory")):
            look = result[name]
            say(
                f"{title}: {look['cold_per_second']:,.0f} pairs/s cold, {look['warm_per_second']:,.0f} warm, "
                f"the first block opened {look['first_block_buckets']:,} of {plural(look['buckets'], 'bucket')} and "
                f"read {look['first_block_bytes'] / 2**20:,.1f} MiB; {_BLOCKS} blocks {look['bytes'] / 2**20:,.1f} MiB"
            )
        report([result], output)


def measure(scratch: Path, *, pairs: int, part_pairs: int, new: float, block_pairs: int) -> dict[str, Any]:
    """Return the results of the three steps; the store and its snapshots are written to `scratch`."""
    added = int(pairs * new)
    _write_parts(scratch, 0, pairs, part_pairs)
    built = _in_process(_open, scratch)
    looked_up = {
        name: _in_process(_look_up, scratch, pairs, part_pairs, block_pairs, is_larger_than_memory)
        for name, is_larger_than_memory in (("lookup", False), ("lookup_beyond_memory", True))
    }
    _write_parts(scratch, pairs, pairs + added, part_pairs)
    return {"name": "store", "build": built, **looked_up, "extend": _in_process(_open, scratch)}


def _hashes(number: int, count: int) -> Hashes:
    """Return the hashes of a part, the same at every call."""
    return np.random.default_rng(number).integers(0, 2**64 - 1, (count, 2), dtype=np.uint64)


def _write_parts(scratch: Path, start: int, stop: int, part_pairs: int) -> None:
    store = ScoreStore(str(scratch / "store"), _FINGERPRINT)
    for first in range(start, stop, part_pairs):
        count = min(part_pairs, stop - first)
        store.append(_hashes(first, count), np.zeros(count, np.float32), np.ones(count, np.int32))


def _in_process(step: Any, *arguments: Any) -> dict[str, Any]:
    """Return what a step returns that runs in a process of its own. Raises OutputError if it fails."""
    receiver, sender = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=_send, args=(sender, step, *arguments))
    process.start()
    sender.close()
    try:
        result: dict[str, Any] = receiver.recv()
    except EOFError:
        raise OutputError("a step of the benchmark failed, see above") from None
    finally:
        process.join()
    return result


def _send(sender: Connection, step: Any, *arguments: Any) -> None:
    sender.send(step(*arguments))


def _open(scratch: Path) -> dict[str, Any]:
    started, cpu = perf_counter(), process_time()
    snapshot = Snapshot.open(ScoreStore(str(scratch / "store"), _FINGERPRINT), scratch / "cache")
    return {
        "pairs": len(snapshot),
        "buckets": len(snapshot.buckets),
        "seconds": perf_counter() - started,
        "cpu_seconds": process_time() - cpu,
        "peak_memory_bytes": peak_memory(),
    }


def _look_up(
    scratch: Path, pairs: int, part_pairs: int, block_pairs: int, is_larger_than_memory: bool
) -> dict[str, Any]:
    """Look up blocks of which half of the pairs are stored, with nothing of the snapshot in memory, then again."""
    with patch("rerank.store.buckets._memory", lambda: 0 if is_larger_than_memory else 1 << 62):
        snapshot = Snapshot.open(ScoreStore(str(scratch / "store"), _FINGERPRINT), scratch / "cache")
    os.sync()
    for path in (scratch / "cache").rglob("bucket-*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    blocks = [_block(number, pairs, part_pairs, block_pairs) for number in range(_BLOCKS)]
    read_before, started = _bytes_read(), perf_counter()
    snapshot.lookup(blocks[0])
    first_bytes, first_buckets = _bytes_read() - read_before, snapshot.buckets.opened
    known = [int(snapshot.lookup(block).known.sum()) for block in blocks]
    cold_seconds, read = perf_counter() - started, _bytes_read() - read_before
    started = process_time()
    for _ in range(_WARM_ROUNDS):
        for block in blocks:
            snapshot.lookup(block)
    return {
        "pairs": _BLOCKS * block_pairs,
        "known": sum(known),
        "buckets": len(snapshot.buckets),
        "first_block_buckets": first_buckets,
        "first_block_bytes": first_bytes,
        "bytes": read,
        "cold_per_second": _BLOCKS * block_pairs / cold_seconds,
        "warm_per_second": _WARM_ROUNDS * _BLOCKS * block_pairs / (process_time() - started),
    }


def _block(number: int, pairs: int, part_pairs: int, block_pairs: int) -> Hashes:
    """Return the hashes of a block: half of them from one part of the store each time, the others are not stored."""
    first = number * part_pairs % pairs // part_pairs * part_pairs
    stored = _hashes(first, min(part_pairs, pairs - first))[: block_pairs // 2]
    return np.concatenate([stored, _hashes(2 * pairs + number, block_pairs - len(stored))])


def _bytes_read() -> int:
    """Return the bytes that this process has read from disks."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock * 512
