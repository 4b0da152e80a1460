"""Snapshots: the parts of a store in sorted buckets on the local disk, built once per node, shared by its workers."""

import fcntl
import getpass
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from xxhash import xxh3_128_hexdigest

from rerank.errors import InputError, OutputError
from rerank.store.buckets import Buckets
from rerank.store.build import build
from rerank.store.keys import Hashes
from rerank.store.lookup import StoredScores
from rerank.store.parts import Damage, Part
from rerank.store.store import ScoreStore

# Written last and deleted first: if it exists, the buckets are complete, unless something other than us damaged them.
_CONTENT = "parts.json"
_BUILDING = "_build-"
_ATTEMPTS = 5
_DAMAGE = (FileNotFoundError, ValueError, KeyError, TypeError)  # of JSON and of buckets
_FORMAT = 2  # part of a snapshot's name, because programs that know another format may use the folder too


class Snapshot:
    """The distinct pairs of some parts of a store, in buckets that are memory-mapped at first use.

    `parts` are the parts that it holds, `damaged` those that could not be read.
    """

    def __init__(self, buckets: Buckets, parts: Sequence[Part], damaged: Sequence[Damage], lease: IO[str]) -> None:
        self.buckets = buckets
        self.parts = tuple(parts)
        self.damaged = list(damaged)
        self._lease = lease  # as long as it is open, no process deletes these files

    @classmethod
    def open(
        cls, store: ScoreStore, cache: Path | str | None = None, *, parts: Sequence[Part] | None = None
    ) -> "Snapshot":
        """Return the snapshot of these parts, by default of all current ones, from the local folder `cache`.

        If it is not there or is damaged, the first process builds it and the others of this node wait for it. The build
        extends the largest snapshot that holds only some of these parts, so that only the other parts are read.

        `cache` is by default the folder that RERANK_CACHE names, or one in the system's temporary folder.

        Raises InputError if the store cannot be opened, OutputError if it cannot be copied to `cache`.
        """
        folder = (_default_cache() if cache is None else Path(cache)) / store.fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        parts = store.parts() if parts is None else tuple(parts)
        with _locked(folder / "lock"):
            for _ in range(_ATTEMPTS):
                version = folder / _name(parts)
                try:
                    return cls._load(version) or _build(version, store, parts)
                except FileNotFoundError:  # a compaction has replaced parts by one that holds at least the same pairs
                    parts = store.parts()
                except OSError as problem:
                    raise OutputError(f"{store.uri}: cannot be copied to {folder}: {problem}") from problem
        raise InputError(f"{store.uri}: parts are deleted faster than they can be read")

    @classmethod
    def _load(cls, version: Path) -> "Snapshot | None":
        """Return the snapshot in this folder; None if there is none, or a damaged one. The caller holds the lock."""
        try:
            lease = (version / _CONTENT).open(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lease, fcntl.LOCK_SH)
            content = json.load(lease)
            parts = [Part(name, size) for name, size in content["parts"]]
            damaged = [Damage(*damage) for damage in content["damaged"]]
            return cls(Buckets(version, content["buckets"]), parts, damaged, lease)
        except _DAMAGE:
            lease.close()
            return None

    def __len__(self) -> int:
        return self.buckets.pairs

    def lookup(self, pair_hashes: Hashes) -> StoredScores:
        """Return the stored values of pairs with these hashes, shape [pairs, 2]."""
        return self.buckets.lookup(pair_hashes)


def _default_cache() -> Path:
    return Path(os.environ.get("RERANK_CACHE") or Path(tempfile.gettempdir(), f"rerank-{getpass.getuser()}"))


def _name(parts: Sequence[Part]) -> str:
    return xxh3_128_hexdigest(json.dumps([_FORMAT, *([part.name, part.size] for part in sorted(parts))]).encode())


def _build(version: Path, store: ScoreStore, parts: Sequence[Part]) -> Snapshot:
    """Build and return the version that holds these parts; the caller holds the lock."""
    _delete_leftovers(version.parent)
    base = _largest_within(version.parent, frozenset(parts))
    known = frozenset(base.parts) if base else frozenset()
    new = [part for part in parts if part not in known]
    target = Path(tempfile.mkdtemp(dir=version.parent, prefix=_BUILDING))
    try:
        built = build(target, store.folder, new, fingerprint=store.fingerprint, base=base.buckets if base else None)
        damaged_names = {Path(damage.path).name for damage in built.damaged}
        held = [[part.name, part.size] for part in parts if part.name not in damaged_names]
        with (target / _CONTENT).open("w", encoding="utf-8") as marker:
            json.dump({"buckets": built.lengths, "parts": held, "damaged": built.damaged}, marker)
            marker.flush()
            os.fsync(marker.fileno())
        _delete(version)
        target.rename(version)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    del base
    snapshot = Snapshot._load(version)
    if snapshot is None:
        raise OSError(f"{version}: what was written cannot be read back")
    _delete_unused(version)
    return snapshot


def _versions(folder: Path) -> Iterator[Path]:
    return (content.parent for content in folder.glob(f"*/{_CONTENT}") if not content.parent.name.startswith("_"))


def _largest_within(folder: Path, parts: frozenset[Part]) -> Snapshot | None:
    """Return the snapshot with the most pairs among those that hold only some of these parts."""
    snapshots = (snapshot for version in _versions(folder) if (snapshot := Snapshot._load(version)))
    return max((snapshot for snapshot in snapshots if parts.issuperset(snapshot.parts)), key=len, default=None)


def _delete_leftovers(folder: Path) -> None:
    """Delete what a killed process left behind: a half-built snapshot, or a half-deleted one, which has no marker."""
    complete = set(_versions(folder))
    for left in folder.iterdir():
        if left.is_dir() and left not in complete:
            shutil.rmtree(left, ignore_errors=True)


def _delete_unused(newest: Path) -> None:
    """Delete all versions but the newest that no process has open."""
    for version in list(_versions(newest.parent)):
        if version == newest:
            continue
        with (version / _CONTENT).open() as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            _delete(version)


def _delete(version: Path) -> None:
    """Delete a version, if it is there: its marker first, so that no half of it is ever taken for the whole."""
    (version / _CONTENT).unlink(missing_ok=True)
    shutil.rmtree(version, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, which one process of this node holds at a time."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
