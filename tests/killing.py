"""Filesystems that a process dies on: killed before any change that it makes, or with the power of its machine."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs


class Killed(BaseException):
    """The end of a process: no handler of errors catches it."""


class InterruptedFileSystem:
    """Passes calls on to a filesystem, and calls `interrupt` before change number `at` (0 is the first).

    The default `interrupt` kills: no change is made after it, as no cleaning up is done by a killed process. A deletion
    of a folder counts once for each file in it, and a file on a disk once when it appears and once half written.
    `type_name` "s3" on a local disk makes it change what an object store would: it has no rename, and no partial files.
    """

    def __init__(
        self,
        filesystem: fs.FileSystem,
        *,
        at: int,
        interrupt: Callable[[], None] | None = None,
        type_name: str | None = None,
        backwards: bool = False,
    ) -> None:
        self._filesystem = filesystem
        self.type_name = type_name or filesystem.type_name
        self._interrupt = interrupt or self._die
        self.start(at)
        self._backwards = backwards  # no filesystem says in which order it deletes the files of a folder

    def start(self, at: int) -> None:
        """Be alive until change number `at`; -1 is never."""
        self._left, self._is_dead = at, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._filesystem, name)

    def _die(self) -> None:
        self._is_dead = True
        raise Killed

    def change(self, before: Callable[[], object] = lambda: None) -> None:
        """Count a change; `before` is what has been done of it when the process dies."""
        if self._is_dead:
            raise Killed
        self._left -= 1
        if self._left == -1:
            before()
            self._interrupt()

    def create_dir(self, *arguments: Any, **options: Any) -> None:
        self.change()
        self._filesystem.create_dir(*arguments, **options)

    def delete_dir(self, path: str) -> None:
        selector = fs.FileSelector(path, recursive=True)
        files = [info.path for info in self._filesystem.get_file_info(selector) if info.type == fs.FileType.File]
        for file in sorted(files, reverse=self._backwards):
            self.delete_file(file)
        self.change()
        self._filesystem.delete_dir(path)

    def delete_file(self, path: str) -> None:
        self.change()
        self._filesystem.delete_file(path)

    def open_output_stream(self, *arguments: Any, **options: Any) -> Any:
        self.change()
        stream = self._filesystem.open_output_stream(*arguments, **options)
        return _Stream(self, stream) if self.type_name == "local" else stream

    def move(self, source: str, target: str) -> None:
        """A rename on a local disk; on an object store a copy, after which the run may die, and a deletion."""
        self.change()
        if self.type_name == "local":
            self._filesystem.move(source, target)
            return
        self._filesystem.copy_file(source, target)
        self.delete_file(source)


class _Stream:
    def __init__(self, filesystem: InterruptedFileSystem, stream: Any) -> None:
        self._filesystem, self._stream = filesystem, stream

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, content: Any) -> None:
        self._filesystem.change(before=lambda: self._stream.write(memoryview(content)[: len(content) // 2]))
        self._stream.write(content)


@contextmanager
def power_cuts(root: Path, filesystem: InterruptedFileSystem) -> Iterator[Callable[[], None]]:
    """Yield a function that leaves below `root` what a power failure would: files that were never flushed are empty.

    Names are taken to be on the disk at once, which is the worst for a file whose content is not. Only what appears
    inside the block can be lost. A flush counts as a change of `filesystem`, so that power can fail before it.
    """
    before = {path.stat().st_ino for path in root.rglob("*") if path.is_file()}
    flushed: set[int] = set()

    def fsync(descriptor: int) -> None:
        filesystem.change()
        flushed.add(os.fstat(descriptor).st_ino)

    def cut() -> None:
        for path in root.rglob("*"):
            if path.is_file() and path.stat().st_ino not in before | flushed:
                os.truncate(path, 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        yield cut
