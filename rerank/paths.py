"""Where things lie: a local path or any URI that pyarrow can open."""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from rerank.errors import InputError

# There a folder exists while something lies in it, an upload shows when it is complete, and a rename is a copy.
OBJECT_STORES = frozenset({"s3", "gcs", "abfs"})
_SECRET = re.compile(r"(?<=://)([^:/@]+):[^/@]*@")


@dataclass(frozen=True, slots=True)
class Location:
    """A place on a filesystem. `uri` is what the person typed without its secrets, for messages."""

    uri: str
    filesystem: fs.FileSystem
    path: str

    def join(self, *parts: str) -> "Location":
        """The place below this one."""
        return Location(join_uri(self.uri, *parts), self.filesystem, "/".join((self.path, *parts)))

    def info(self) -> fs.FileInfo:
        """What lies here: a file, a folder or nothing. Raises InputError where nobody answers."""
        try:
            return self.filesystem.get_file_info(self.path)
        except OSError as problem:
            raise InputError(f"{self.uri}: cannot be reached: {problem}") from problem

    def missing_bucket(self) -> str | None:
        """The bucket of an object store that would have to be there and is not. Raises InputError."""
        bucket = self.path.partition("/")[0]
        if self.filesystem.type_name not in OBJECT_STORES:
            return None
        found = Location(self.uri, self.filesystem, bucket).info()
        return bucket if found.type == fs.FileType.NotFound else None


def locate(uri: str) -> Location:
    """The filesystem and path behind `uri`: a local path, `file://`, `s3://`, `gs://`, `abfs://`. Raises InputError.

    Options follow a question mark: `s3://bucket/folder?endpoint_override=…&scheme=http`. Credentials come from where
    the vendor's tools find theirs, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    if "://" not in uri:
        return Location(uri, fs.LocalFileSystem(), Path(uri).expanduser().absolute().as_posix())
    shown = _SECRET.sub(r"\1:***@", uri)
    try:
        filesystem, path = fs.FileSystem.from_uri(_in_one_request(uri))
    except (pa.ArrowException, OSError) as problem:
        raise InputError(f"{shown}: cannot be opened: {problem}") from problem
    return Location(shown, filesystem, path.rstrip("/"))


def _in_one_request(uri: str) -> str:
    """The URI with S3 told to send what is small whole; it would begin an upload, fill it and end it."""
    if not uri.startswith("s3://") or "allow_delayed_open=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"


def join_uri(uri: str, *parts: str) -> str:
    """The URI or local path of a place below; options stay at the end."""
    path, mark, options = uri.partition("?") if "://" in uri else (uri, "", "")
    return "/".join((path.rstrip("/"), *parts)) + mark + options
