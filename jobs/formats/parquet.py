"""List the Parquet files behind a path, directory, glob or URI."""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from posixpath import relpath

from fsspec.utils import glob_translate
from pyarrow import fs

from rerank.errors import InputError
from rerank.paths import Location

_GLOB = frozenset("*?[")
_SUFFIX = ".parquet"


def list_parquet(location: Location) -> list[str]:
    """Return the Parquet files in name order, as `list_files` does. Raises InputError."""
    paths = list_files(location, (_SUFFIX,))
    if not paths:
        raise InputError(f"{location.uri}: no Parquet files there (names that begin with _ or . are skipped)")
    return paths


def list_files(location: Location, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files with these suffixes in name order; names that begin with an underscore or a dot are skipped.

    A glob matches files of any name, and folders whose files are then listed; only `**` matches across folders.
    Raises InputError if there is nothing.
    """
    root = root_of(location)
    info = Location(location.uri, location.filesystem, root).info()
    if info.type == fs.FileType.NotFound:
        raise InputError(f"{location.uri}: no such file or directory")
    if info.type == fs.FileType.File:
        return [root]
    entries = location.filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    listed = _listed(location, suffixes)
    return sorted(entry.path for entry in entries if entry.type == fs.FileType.File and listed(entry.path))


def would_list(location: Location, path: str) -> bool:
    """Return True if `list_parquet` of this folder or glob would list a file with this path."""
    return _listed(location, (_SUFFIX,))(path)


def _listed(location: Location, suffixes: tuple[str, ...]) -> Callable[[str], bool]:
    root = root_of(location)
    inside = f"{root.rstrip('/')}/"
    matches = None if root == location.path else re.compile(glob_translate(location.path)).match

    def listed(path: str) -> bool:
        if not path.startswith(inside) or any(part[0] in "_." for part in relpath(path, root).split("/")):
            return False
        if matches is None:
            return path.endswith(suffixes)
        return bool(matches(path)) or (
            path.endswith(suffixes) and any(matches(str(parent)) for parent in PurePosixPath(path).parents)
        )

    return listed


def root_of(location: Location) -> str:
    """Return the deepest folder that contains all matches of a glob, or the path itself if it is no glob."""
    parts = location.path.split("/")
    fixed = next((place for place, part in enumerate(parts) if _GLOB & set(part)), len(parts))
    return "/".join(parts[:fixed]) or "/"
