"""Appending and compacting, killed or without power before any change: no stored pair is lost, and all goes on."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rerank.store import ScoreStore, Snapshot
from rerank.store.upkeep import compact
from tests.killing import InterruptedFileSystem, Killed, power_cuts
from tests.rerank.store.test_store import FINGERPRINT, random_hashes, save

PARTS = np.split(random_hashes(80), 4)
NEW = random_hashes(20, seed=1)


def filled(folder: Path) -> ScoreStore:
    store = ScoreStore(str(folder / "store"), FINGERPRINT)
    for part in PARTS:
        save(store, part)
    return store


def on(store: ScoreStore, filesystem: InterruptedFileSystem) -> ScoreStore:
    """The same store, with its folder on another filesystem."""
    other = ScoreStore(store.uri, store.fingerprint)
    other.__dict__["folder"] = replace(store.folder, filesystem=filesystem)
    return other


def check_complete(store: ScoreStore, cache: Path, hashes: np.ndarray) -> None:
    """Check that all these pairs are found, and that no part is damaged."""
    snapshot = Snapshot.open(store, cache)
    assert not snapshot.damaged
    assert snapshot.lookup(hashes).known.all()


def append(store: ScoreStore) -> None:
    save(store, NEW)


def compact_small(store: ScoreStore) -> None:
    compact(store, pairs_per_part=40)


@pytest.mark.parametrize(
    ("action", "type_name", "least"),
    [
        (append, "local", 4),
        (append, "s3", 1),
        (compact_small, "local", 11),
        (compact_small, "s3", 6),
    ],
)
def test_a_kill_before_any_change_loses_no_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Callable[[ScoreStore], None], type_name: str, least: int
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # a kill loses nothing that was written
    at, is_over = 0, False
    while not is_over:
        folder = tmp_path / str(at)
        store = filled(folder)
        dying = InterruptedFileSystem(store.folder.filesystem, at=at, type_name=type_name)
        with suppress(Killed):
            action(on(store, dying))
            is_over = True
        check_complete(store, folder / "cache", np.concatenate(PARTS))
        action(store)
        assert compact(store, pairs_per_part=40).parts_after == -(-len(Snapshot.open(store, folder / "cache")) // 40)
        check_complete(store, folder / "cache", np.concatenate([*PARTS, NEW] if action is append else PARTS))
        at += 1
    assert at > least


@pytest.mark.parametrize("action", [append, compact_small])
def test_a_power_failure_before_any_change_loses_no_pair(tmp_path: Path, action: Callable[[ScoreStore], None]) -> None:
    at, is_over = 0, False
    while not is_over:
        folder = tmp_path / str(at)
        folder.mkdir()
        failing = InterruptedFileSystem(ScoreStore(str(folder), "").folder.filesystem, at=at)
        with power_cuts(folder, failing) as cut:
            stored = 0
            with suppress(Killed):
                store = on(ScoreStore(str(folder / "store"), FINGERPRINT), failing)
                for part in PARTS:
                    save(store, part)
                    stored += 1
                action(store)
                is_over = True
            cut()
        store = ScoreStore(store.uri, FINGERPRINT)
        kept = [*PARTS[:stored], *([NEW] if is_over and action is append else [])]
        if kept:
            check_complete(store, folder / "cache", np.concatenate(kept))
        action(store)
        check_complete(store, folder / "cache", np.concatenate(kept) if kept else NEW[:0])
        at += 1
    assert at > 15


def test_old_parts_are_deleted_after_the_names_of_merged_ones_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)
    steps: list[str] = []

    class Recorder(InterruptedFileSystem):
        def move(self, source: str, target: str) -> None:
            steps.append("rename")
            super().move(source, target)

        def delete_file(self, path: str) -> None:
            steps.append("delete")
            super().delete_file(path)

    monkeypatch.setattr("rerank.store.folder._flush", lambda place: steps.append("names" if place.is_dir() else "file"))
    compact(on(store, Recorder(store.folder.filesystem, at=-1)), pairs_per_part=40)
    assert steps == ["file", "rename", "names"] * 2 + ["delete"] * 4


def test_a_new_folder_is_on_the_disk_with_the_folders_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr("rerank.store.folder._flush", flushed.append)
    store = ScoreStore(str(tmp_path / "a" / "store"), FINGERPRINT)
    save(store, NEW)
    assert flushed[:3] == [tmp_path, tmp_path / "a", tmp_path / "a" / "store"]
    assert flushed[-1] == Path(store.folder.path)


def test_a_full_disk_leaves_no_temporary_file(tmp_path: Path) -> None:
    store = filled(tmp_path)

    def fill() -> None:
        raise OSError("no space left on device")

    full = InterruptedFileSystem(store.folder.filesystem, at=2, interrupt=fill)
    with pytest.raises(OSError, match="no space left"):
        on(store, full).folder.write("part-x.parquet", b"content", durable=True)
    assert len(list(Path(store.folder.path).iterdir())) == len(PARTS)
