"""Snapshots: the parts of a store as sorted arrays on the local disk, built once per node and shared by its workers."""

import fcntl
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from xxhash import xxh3_128_hexdigest

from rerank.errors import InputError, OutputError
from rerank.store.build import build
from rerank.store.entries import Entries, map_entries
from rerank.store.keys import Hashes
from rerank.store.lookup import StoredScores, find
from rerank.store.parts import Damage, Part
from rerank.store.store import ScoreStore

_CONTENT = "parts.json"  # written last: if it exists, the arrays are complete
_BUILDING = "_build-"
_ATTEMPTS = 5


class Snapshot:
    """The distinct pairs of some parts of a store, memory-mapped.

    `parts` are the parts that it holds, `damaged` those that could not be read.
    """

    def __init__(self, entries: Entries, parts: Sequence[Part], damaged: Sequence[Damage], lease: IO[str]) -> None:
        self.entries = entries
        self.parts = tuple(parts)
        self.damaged = list(damaged)
        self._lease = lease  # as long as it is open, no process deletes these files

    @classmethod
    def open(cls, store: ScoreStore, cache: Path | str, *, parts: Sequence[Part] | None = None) -> "Snapshot":
        """Return the snapshot of these parts, by default of all current ones, from the local folder `cache`.

        If it is not there, the first process builds it and the others of this node wait for it. The build extends the
        largest snapshot that holds only some of these parts, so that only the other parts are read.

        Raises InputError if the store cannot be opened, OutputError if it cannot be copied to `cache`.
        """
        folder = Path(cache) / store.fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        parts = store.parts() if parts is None else tuple(parts)
        with _locked(folder / "lock"):
            for _ in range(_ATTEMPTS):
                version = folder / _name(parts)
                try:
                    if not (version / _CONTENT).exists():
                        _build(version, store, parts)
                    return cls._load(version)
                except FileNotFoundError:  # a compaction has replaced parts by one that holds at least the same pairs
                    parts = store.parts()
                except OSError as problem:
                    raise OutputError(f"{store.uri}: cannot be copied to {folder}: {problem}") from problem
        raise InputError(f"{store.uri}: parts are deleted faster than they can be read")

    @classmethod
    def _load(cls, version: Path) -> "Snapshot":
        lease = (version / _CONTENT).open()
        fcntl.flock(lease, fcntl.LOCK_SH)
        content = json.load(lease)
        parts = [Part(name, size) for name, size in content["parts"]]
        return cls(map_entries(version), parts, [Damage(*damage) for damage in content["damaged"]], lease)

    def __len__(self) -> int:
        return self.entries.pairs

    def lookup(self, pair_hashes: Hashes) -> StoredScores:
        """Return the stored values of pairs with these hashes, shape [pairs, 2]."""
        return find(self.entries, pair_hashes)


def _name(parts: Sequence[Part]) -> str:
    return xxh3_128_hexdigest(json.dumps([[part.name, part.size] for part in sorted(parts)]).encode())


def _build(version: Path, store: ScoreStore, parts: Sequence[Part]) -> None:
    """Build the version that holds these parts; the caller holds the lock."""
    for abandoned in version.parent.glob(f"{_BUILDING}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    base = _largest_within(version.parent, frozenset(parts))
    known = frozenset(base.parts) if base else frozenset()
    new = [part for part in parts if part not in known]
    target = Path(tempfile.mkdtemp(dir=version.parent, prefix=_BUILDING))
    try:
        damaged = build(target, store.folder, new, fingerprint=store.fingerprint, base=base.entries if base else None)
        damaged_names = {Path(damage.path).name for damage in damaged}
        held = [[part.name, part.size] for part in parts if part.name not in damaged_names]
        (target / _CONTENT).write_text(json.dumps({"parts": held, "damaged": damaged}))
        shutil.rmtree(version, ignore_errors=True)
        target.rename(version)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    del base
    _drop_unused(version)


def _versions(folder: Path) -> Iterator[Path]:
    return (content.parent for content in folder.glob(f"*/{_CONTENT}") if not content.parent.name.startswith("_"))


def _largest_within(folder: Path, parts: frozenset[Part]) -> Snapshot | None:
    """Return the snapshot with the most pairs among those that hold only some of these parts."""
    snapshots = (Snapshot._load(version) for version in _versions(folder))
    return max((snapshot for snapshot in snapshots if parts.issuperset(snapshot.parts)), key=len, default=None)


def _drop_unused(newest: Path) -> None:
    """Delete all versions but the newest that no process has open."""
    for version in list(_versions(newest.parent)):
        if version == newest:
            continue
        with (version / _CONTENT).open() as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            shutil.rmtree(version, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, which one process of this node holds at a time."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
