"""A folder that other processes use at the same time: they make it, add files to it, delete files and delete it."""

import errno
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import fs

from rerank.paths import OBJECT_STORES, locate

TEMPORARY = "_tmp-"
_CHANGED_MEANWHILE = frozenset({errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY})
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

    def listing(self) -> list[fs.FileInfo]:
        """Return the files and folders in this folder; nothing if it does not exist."""
        # PyArrow looks twice, and raises where the folder was missing at the first look and not at the second.
        with suppress(FileNotFoundError):
            entries: list[fs.FileInfo] = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
            return entries
        return []

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Make a file appear whole, in this folder, which is made if need be. Raises OSError."""
        if self.filesystem.type_name in OBJECT_STORES:
            with self.filesystem.open_output_stream(self.path_of(name)) as stream:
                stream.write(content)
        else:
            _repeat_if_changed(lambda: self._write_and_rename(name, content))

    def _write_and_rename(self, name: str, content: bytes | pa.Buffer) -> None:
        temporary = self.path_of(f"{TEMPORARY}{uuid.uuid4().hex}")
        self.filesystem.create_dir(self.path, recursive=True)
        with self.filesystem.open_output_stream(temporary) as stream:
            stream.write(content)
        self.filesystem.move(temporary, self.path_of(name))

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


def _repeat_if_changed(action: Callable[[], None]) -> None:
    """Call `action` again as long as it fails because another process made or deleted something under its hands."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return action()
        except OSError as problem:
            if problem.errno not in _CHANGED_MEANWHILE:
                raise
    return action()
