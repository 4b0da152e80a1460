"""A folder that other processes use at the same time: they make it, add files to it, delete files and delete it."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from rerank.paths import OBJECT_STORES, Location, locate

TEMPORARY = "_tmp-"
_CHANGED_MEANWHILE = frozenset({errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY})
_BYTES_PER_COPY = 1 << 20
_ATTEMPTS = 100  # against processes that do nothing but write and delete; a job writes every few seconds


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on any filesystem. What other processes add or delete meanwhile makes none of its methods fail."""

    filesystem: fs.FileSystem
    path: str

    def join(self, name: str) -> "Folder":
        """Return the folder of that name in this one."""
        return Folder(self.filesystem, self.path_of(name))

    def path_of(self, name: str) -> str:
        """Return the path of a file in this folder."""
        return f"{self.path}/{name}"

    def listing(self, *, recursive: bool = False) -> list[fs.FileInfo]:
        """Return the files and folders in this folder, or also those in its folders; nothing if it does not exist."""
        # PyArrow lists a folder of Google Cloud Storage only if an empty object marks it, but always the files in it.
        has_unlisted_folders = self.filesystem.type_name == "gcs"
        # PyArrow looks twice, and raises where the folder was missing at the first look and not at the second.
        with suppress(FileNotFoundError):
            selector = fs.FileSelector(self.path, allow_not_found=True, recursive=recursive or has_unlisted_folders)
            entries: list[fs.FileInfo] = self.filesystem.get_file_info(selector)
            return self._children(entries) if has_unlisted_folders and not recursive else entries
        return []

    def _children(self, entries: list[fs.FileInfo]) -> list[fs.FileInfo]:
        """Return what lies directly in this folder, according to all files below it."""
        children: dict[str, fs.FileInfo] = {}
        for entry in entries:
            name, _, below = entry.path.removeprefix(f"{self.path}/").partition("/")
            children[name] = fs.FileInfo(self.path_of(name), fs.FileType.Directory) if below else entry
        return list(children.values())

    def create(self) -> None:
        """Make this folder unless it is there. A new folder is durable when this returns. Raises OSError."""
        places = [Path(self.path), *Path(self.path).parents] if self.filesystem.type_name == "local" else []
        missing = list(takewhile(lambda place: not place.exists(), places))
        self.filesystem.create_dir(self.path, recursive=True)
        for place in reversed(missing):
            _flush(place.parent)

    def write(self, name: str, content: bytes | pa.Buffer, *, durable: bool = False) -> None:
        """Make a file appear whole, in this folder, which is made if need be. Raises OSError.

        A durable file survives a power failure from the moment that this returns.
        """
        if self.filesystem.type_name in OBJECT_STORES:
            with self.filesystem.open_output_stream(self.path_of(name)) as stream:
                stream.write(content)
        else:
            _repeat_if_changed(lambda: self._write_and_rename(name, content, durable=durable))

    def _write_and_rename(self, name: str, content: bytes | pa.Buffer, *, durable: bool) -> None:
        self.create()
        with (
            self._renamed(f"{TEMPORARY}{uuid.uuid4().hex}", name, durable=durable) as path,
            self.filesystem.open_output_stream(path) as stream,
        ):
            stream.write(content)

    def copy(self, name: str, source: Location, *, temporary: str) -> None:
        """Make a durable copy of a file appear whole in this folder, which must exist. Raises OSError.

        On a disk its name is `temporary` until it is whole. A kill may leave that file, and the next copy replaces it.
        """
        if self.filesystem.type_name in OBJECT_STORES:
            self._fill(self.path_of(name), source)
        else:
            with self._renamed(temporary, name, durable=True) as path:
                self._fill(path, source)

    def _fill(self, path: str, source: Location) -> None:
        with (
            source.filesystem.open_input_stream(source.path, compression=None) as stream,
            self.filesystem.open_output_stream(path, compression=None) as target,
        ):
            shutil.copyfileobj(stream, target, _BYTES_PER_COPY)

    @contextmanager
    def _renamed(self, temporary: str, name: str, *, durable: bool) -> Iterator[str]:
        """Yield the path of a temporary file to write, then rename it; it is deleted if writing it fails."""
        try:
            yield self.path_of(temporary)
            if durable:
                self.flush(temporary)
            self.filesystem.move(self.path_of(temporary), self.path_of(name))
        except OSError:
            with suppress(OSError):
                self.filesystem.delete_file(self.path_of(temporary))
            raise
        if durable:
            self.flush()

    def flush(self, name: str = "") -> None:
        """Wait until a closed file of this folder, or the names in the folder itself, are on the disk. Raises OSError.

        Does nothing on other filesystems. Object stores acknowledge a request when its effect is durable.
        """
        if self.filesystem.type_name == "local":
            _flush(Path(self.path_of(name)))

    def read(self, name: str) -> pa.Buffer:
        """Return a file's content, from one request. Raises OSError, FileNotFoundError if the file is gone."""
        with self.open(name) as file:
            return file.read_buffer()

    @contextmanager
    def open(self, name: str) -> Iterator[pa.NativeFile]:
        """Open a file for random access. Raises OSError, FileNotFoundError if the file is gone or goes meanwhile."""
        path = self.path_of(name)
        try:
            with self.filesystem.open_input_file(path) as file:
                yield file
        except (pa.ArrowException, OSError) as problem:  # an object store words a file that goes in many ways
            if self.filesystem.get_file_info(path).type != fs.FileType.NotFound:
                raise
            raise FileNotFoundError(errno.ENOENT, "the file was deleted while it was read", path) from problem

    def delete(self, name: str) -> None:
        """Delete a file, if it is still there. Raises OSError."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path_of(name))

    def delete_all(self) -> None:
        """Delete this folder with all that is in it, if it is still there. Raises OSError."""

        def delete() -> None:
            if self.filesystem.get_file_info(self.path).type != fs.FileType.NotFound:
                self.filesystem.delete_dir(self.path)

        _repeat_if_changed(delete)


def open_folder(uri: str) -> Folder:
    """Return the folder behind a local path, `file://`, `s3://`, `gs://` or `abfs://`. Raises InputError."""
    location = locate(uri)
    return Folder(location.filesystem, location.path)


def _flush(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # some file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)


def _repeat_if_changed(action: Callable[[], None]) -> None:
    """Call `action` again as long as it fails because another process made or deleted something under its hands."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return action()
        except OSError as problem:
            if problem.errno not in _CHANGED_MEANWHILE:
                raise
    return action()
