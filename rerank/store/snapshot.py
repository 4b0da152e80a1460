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
from rerank.store.keys import Keys
from rerank.store.lookup import Found, find
from rerank.store.parts import Damage, Part
from rerank.store.store import ScoreStore

_CONTENT = "parts.json"  # written last: its existence says that the arrays are whole
_BUILDING = "_build-"
_ATTEMPTS = 5


class Snapshot:
    """The distinct pairs of some parts of a store, memory-mapped.

    `parts` are those it holds, `damaged` those it had to leave out.
    """

    def __init__(self, entries: Entries, parts: Sequence[Part], damaged: Sequence[Damage], lease: IO[str]) -> None:
        self.entries = entries
        self.parts = tuple(parts)
        self.damaged = list(damaged)
        self._lease = lease  # while it is open, nobody deletes these files

    @classmethod
    def open(cls, store: ScoreStore, cache: Path | str, *, parts: Sequence[Part] | None = None) -> "Snapshot":
        """The snapshot of these parts, or of all there are now; built below the local folder `cache` if need be.

        Whoever comes first builds, from the largest snapshot there is of fewer parts; the others wait and share. All
        that is read of the store are parts not known there yet. Raises InputError where the store cannot be opened,
        OutputError where it cannot be copied.
        """
        folder = Path(cache) / store.fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        wanted = store.parts() if parts is None else tuple(parts)
        with _locked(folder / "lock"):
            for _ in range(_ATTEMPTS):
                version = folder / _name(wanted)
                try:
                    if not (version / _CONTENT).exists():
                        _build(version, store, wanted)
                    return cls._load(version)
                except FileNotFoundError:  # a compaction replaced parts by one that holds at least the same pairs
                    wanted = store.parts()
                except OSError as problem:
                    raise OutputError(f"{store.uri}: cannot be copied to {folder}: {problem}") from problem
        raise InputError(f"{store.uri}: parts disappear faster than they can be read")

    @classmethod
    def _load(cls, version: Path) -> "Snapshot":
        lease = (version / _CONTENT).open()
        fcntl.flock(lease, fcntl.LOCK_SH)
        content = json.load(lease)
        parts = [Part(name, size) for name, size in content["parts"]]
        return cls(map_entries(version), parts, [Damage(*damage) for damage in content["damaged"]], lease)

    def __len__(self) -> int:
        return self.entries.pairs

    def lookup(self, keys: Keys) -> Found:
        """What is known of pairs with these keys, shape [pairs, 2]."""
        return find(self.entries, keys)


def _name(parts: Sequence[Part]) -> str:
    return xxh3_128_hexdigest(json.dumps([[part.name, part.size] for part in sorted(parts)]).encode())


def _build(version: Path, store: ScoreStore, wanted: Sequence[Part]) -> None:
    """Make a version from what it lacks; the caller holds the lock."""
    for abandoned in version.parent.glob(f"{_BUILDING}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    base = _largest_within(version.parent, frozenset(wanted))
    known = frozenset(base.parts) if base else frozenset()
    fresh = [part for part in wanted if part not in known]
    target = Path(tempfile.mkdtemp(dir=version.parent, prefix=_BUILDING))
    try:
        damaged = build(target, store.folder, fresh, fingerprint=store.fingerprint, base=base.entries if base else None)
        broken = {Path(damage.path).name for damage in damaged}
        held = [[part.name, part.size] for part in wanted if part.name not in broken]
        (target / _CONTENT).write_text(json.dumps({"parts": held, "damaged": damaged}))
        shutil.rmtree(version, ignore_errors=True)
        target.rename(version)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    del base
    _drop_unused(version)


def _versions(folder: Path) -> Iterator[Path]:
    return (content.parent for content in folder.glob(f"*/{_CONTENT}") if not content.parent.name.startswith("_"))


def _largest_within(folder: Path, wanted: frozenset[Part]) -> Snapshot | None:
    """The snapshot with the most pairs that holds no part but these."""
    snapshots = (Snapshot._load(version) for version in _versions(folder))
    return max((known for known in snapshots if wanted.issuperset(known.parts)), key=len, default=None)


def _drop_unused(newest: Path) -> None:
    """Delete the versions that no process has open."""
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
    """Hold a file's lock: one process of this node at a time."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
