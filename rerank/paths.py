"""Where things lie: a local path or any URI that pyarrow can open."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from rerank.errors import InputError


@dataclass(frozen=True, slots=True)
class Location:
    """A place on a filesystem. `uri` is what the person typed, for messages."""

    uri: str
    filesystem: fs.FileSystem
    path: str

    def join(self, *parts: str) -> "Location":
        """The place below this one."""
        return Location("/".join((self.uri.rstrip("/"), *parts)), self.filesystem, "/".join((self.path, *parts)))


def locate(uri: str) -> Location:
    """The filesystem and path behind `uri`: a local path, `file://`, `s3://`, `gs://`, `abfs://`. Raises InputError."""
    if "://" not in uri:
        return Location(uri, fs.LocalFileSystem(), Path(uri).expanduser().absolute().as_posix())
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{uri}: cannot be opened: {problem}") from problem
    return Location(uri, filesystem, path.rstrip("/"))
