"""`rerank bench durability`: what it costs that score store parts and results survive a power failure."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer

from jobs.bench.options import Output, Rounds, report
from jobs.bench.turns import in_turns
from jobs.console import say
from jobs.exits import exit_codes
from jobs.pipeline.output import stage
from jobs.pipeline.publish import publish
from jobs.pipeline.staging import PartReport, WrittenFile
from rerank.paths import locate
from rerank.store import ScoreStore
from rerank.store.folder import Folder

_PAIRS_PER_PART = 10_000  # what a GPU scores between two writes to the store


def durability(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder on the disk to measure; a temporary one if left out.")
    ] = None,
    parts: Annotated[int, typer.Option(min=1, help="Number of files that are written each time.")] = 50,
    part_bytes: Annotated[int, typer.Option(min=1, help="Size of a part of a result, in bytes.")] = 16 << 20,
    rounds: Rounds = 3,
    output: Output = None,
) -> None:
    """Append to a score store and publish a result, with and without flushing to the disk in turns; report medians."""
    with exit_codes(), tempfile.TemporaryDirectory(dir=folder, prefix="rerank-durability-") as scratch:
        results = measure(Path(scratch), parts=parts, part_bytes=part_bytes, rounds=rounds)
        for row in results:
            say(
                f"{row['name']}: {row['flushed_ms']:.1f} ms per part flushed, {row['unflushed_ms']:.1f} ms not, "
                f"{row['added_ms']:.1f} ms more"
            )
        report(results, output)


def measure(scratch: Path, *, parts: int, part_bytes: int, rounds: int) -> list[dict[str, Any]]:
    """Return the milliseconds that one part takes, flushed and not, for the score store and for a result."""
    actions: dict[str, Callable[[Path], None]] = {
        f"score store, {_PAIRS_PER_PART:,} pairs": partial(_append, parts=parts),
        f"result, {part_bytes:,} bytes": partial(_publish, parts=parts, part_bytes=part_bytes),
    }
    runs = [
        (f"{name}, {how}", partial(_run, action, scratch, is_flushed=how == "flushed"))
        for name, action in actions.items()
        for how in ("flushed", "not flushed")
    ]
    _, seconds = in_turns(runs, rounds=rounds)
    milliseconds = np.median(seconds, axis=0) * 1_000 / parts
    return [
        {
            "name": name,
            "flushed_ms": round(float(milliseconds[2 * place]), 3),
            "unflushed_ms": round(float(milliseconds[2 * place + 1]), 3),
            "added_ms": round(float(milliseconds[2 * place] - milliseconds[2 * place + 1]), 3),
            "parts": parts,
            "seconds": [[round(value, 3) for value in row] for row in seconds[:, 2 * place : 2 * place + 2].tolist()],
        }
        for place, name in enumerate(actions)
    ]


def _run(action: Callable[[Path], None], scratch: Path, *, is_flushed: bool) -> None:
    os.sync()  # what an earlier turn has left unflushed must not slow this one down
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        if is_flushed:
            action(Path(folder))
        else:
            with patch("os.fsync", lambda descriptor: None):
                action(Path(folder))


def _append(folder: Path, *, parts: int) -> None:
    store, rng = ScoreStore(str(folder), "benchmark"), np.random.default_rng(0)
    for _ in range(parts):
        hashes = rng.integers(0, 2**64 - 1, (_PAIRS_PER_PART, 2), dtype=np.uint64)
        store.append(hashes, np.zeros(_PAIRS_PER_PART, np.float32), np.ones(_PAIRS_PER_PART, np.int32))


def _publish(folder: Path, *, parts: int, part_bytes: int) -> None:
    staging = stage(locate(str(folder / "out")))
    staged, content = Folder(staging.folder.filesystem, staging.folder.path), os.urandom(part_bytes)
    files = tuple(WrittenFile(f"part-{number:05d}.parquet", 1) for number in range(parts))
    for file in files:
        with staged.filesystem.open_output_stream(staged.path_of(file.name)) as stream:
            stream.write(content)
        staged.flush(file.name)
    publish(staging, [PartReport(files, {})], {}, overwrite=False)
