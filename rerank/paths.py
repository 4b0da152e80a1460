"""Locations: a local path or any URI that pyarrow can open."""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from rerank.errors import InputError

# On object stores a folder exists as long as it holds a file, a file appears when its upload is complete, and a rename
# is a copy.
OBJECT_STORES = frozenset({"s3", "gcs", "abfs"})
HUB = "py::fsspec+hf"
_PASSWORD = re.compile(r"(?<=://)([^:/@]*):[^/@]*@")
_SECRET_OPTION = re.compile(r"(?<=[?&])(sig|client_secret)=[^&]*")  # of Azure: a shared access signature, a password


@dataclass(frozen=True, slots=True)
class Location:
    """A path on a filesystem. `uri` is what the user typed, without secrets, for messages."""

    uri: str
    filesystem: fs.FileSystem
    path: str

    def join(self, *parts: str) -> "Location":
        """Return the location of a file or folder below this one."""
        return Location(join_uri(self.uri, *parts), self.filesystem, "/".join((self.path, *parts)))

    def info(self) -> fs.FileInfo:
        """Return whether a file, a folder or nothing is here. Raises InputError if the filesystem cannot be reached."""
        try:
            return self.filesystem.get_file_info(self.path)
        # ValueError: a repository of the Hub whose name cannot be one. ArrowException: Azure that refuses a login.
        except (OSError, ValueError, pa.ArrowException) as problem:
            raise InputError(f"{self.uri}: cannot be reached: {problem}") from problem

    def move(self, target: "Location") -> None:
        """Give this file the name `target`, on the same filesystem. Raises OSError.

        On an object store it is copied, then deleted.
        """
        try:
            self.filesystem.move(self.path, target.path)
        except NotImplementedError:  # by PyArrow, for Azure accounts without a hierarchical namespace
            self.filesystem.copy_file(self.path, target.path)
            self.filesystem.delete_file(self.path)

    def missing_bucket(self) -> str | None:
        """Return the name of the object store's bucket if it does not exist, else None. Raises InputError."""
        bucket = self.path.partition("/")[0]
        if self.filesystem.type_name not in OBJECT_STORES:
            return None
        bucket_info = Location(self.uri, self.filesystem, bucket).info()
        return bucket if bucket_info.type == fs.FileType.NotFound else None


def locate(uri: str) -> Location:
    """Return the filesystem and path of a local path, `file://`, `s3://`, `gs://`, `abfs://` or `hf://` URI.

    `hf://datasets/OWNER/NAME/PATH` is read through huggingface_hub's filesystem for fsspec. Raises InputError.
    Options follow a question mark: `s3://bucket/folder?endpoint_override=…&scheme=http`. Credentials are read where the
    vendor's own tools read them, for example from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    if "://" not in uri:
        return Location(uri, fs.LocalFileSystem(), Path(uri).expanduser().absolute().as_posix())
    shown = _SECRET_OPTION.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", uri))
    try:
        filesystem, path = fs.FileSystem.from_uri(_in_one_request(uri))
    except (pa.ArrowException, OSError, ValueError, ImportError) as problem:
        raise InputError(f"{shown}: cannot be opened: {problem}") from problem
    return Location(shown, filesystem, path.rstrip("/"))


def _in_one_request(uri: str) -> str:
    """Return the URI with S3 set to write a small file in one request; the default is a multipart upload of three."""
    if not uri.startswith("s3://") or "allow_delayed_open=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"


def join_uri(uri: str, *parts: str) -> str:
    """Return the URI or local path of a file or folder below `uri`; options stay at the end."""
    path, mark, options = uri.partition("?") if "://" in uri else (uri, "", "")
    return "/".join((path.rstrip("/"), *parts)) + mark + options
