"""Parquet files behind a path, directory, glob or URI."""

from fnmatch import fnmatch
from posixpath import relpath

from pyarrow import fs

from rerank.errors import InputError
from rerank.paths import Location

_GLOB = frozenset("*?[")


def list_parquet(location: Location) -> list[str]:
    """Parquet files in name order; names that begin with an underscore or a dot are not data."""
    root, pattern = location.path, None
    if _GLOB & set(location.path):
        parts = location.path.split("/")
        fixed = next(place for place, part in enumerate(parts) if _GLOB & set(part))
        root, pattern = "/".join(parts[:fixed]) or "/", location.path.replace("**/", "*")
    info = Location(location.uri, location.filesystem, root).info()
    if info.type == fs.FileType.NotFound:
        raise InputError(f"{location.uri}: no such file or directory")
    if info.type == fs.FileType.File:
        return [root]
    found = location.filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    paths = sorted(
        entry.path
        for entry in found
        if entry.type == fs.FileType.File
        and not any(part[0] in "_." for part in relpath(entry.path, root).split("/"))
        and (fnmatch(entry.path, pattern) if pattern else entry.path.endswith(".parquet"))
    )
    if not paths:
        raise InputError(f"{location.uri}: no Parquet files there (names that begin with _ or . are skipped)")
    return paths
