"""Read the result of a job from its output folder, also while another job replaces it.

The manifest is deleted before the first file of a result is, and written after the last one is in place. The names of
the files differ in every result. So files that were read belong to one result, and are all of it, if the manifest was
there before they were opened and is the same afterwards.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from rerank.errors import InputError, OutputError
from rerank.paths import Location, locate
from rerank.store.folder import Folder

MANIFEST = "_manifest.json"
STAGING = "_staging"
JOURNAL = "journal.json"  # of a result that is committed, but not in its place yet

_PATIENCE_S = 60.0
_PAUSE_S = 0.1  # between two looks at an object store, which has no locks to wait for

Result = TypeVar("Result")


def read_ranked(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the ranked rows in an output folder of `rerank run`: all rows of one result, also if it is being replaced.

    `columns` are the columns to read, by default all. Keys of partition folders, such as `date=2026-01-01`, are columns
    too. Raises InputError if there is no finished result, if a column is missing, or if a file cannot be read.
    """
    output = locate(uri)
    return read_unchanged(output, lambda: _read_files(output, columns))


def _read_files(output: Location, columns: Sequence[str] | None) -> pa.Table:
    import pyarrow.dataset as ds  # imports pandas, which takes half a second

    manifest = _manifest_bytes(output)
    if manifest is None:
        raise InputError(f"{output.uri}: there is no {MANIFEST}, so no finished result of rerank run")
    try:
        names = sorted(file["name"] for file in json.loads(manifest)["files"])
        paths = [output.join(name).path for name in names if not name.startswith("_")]
        dataset = ds.dataset(
            paths,
            filesystem=output.filesystem,
            format="parquet",
            partitioning="hive",
            partition_base_dir=output.path,
        )
        schemas = [dataset.schema, *(fragment.physical_schema for fragment in dataset.get_fragments())]
        dataset = dataset.replace_schema(pa.unify_schemas(schemas, promote_options="permissive"))
        missing = set(columns or ()).difference(dataset.schema.names)
        if missing:
            raise InputError(f"{output.uri}: no column {min(missing)!r}; found {', '.join(dataset.schema.names)}")
        return dataset.to_table(columns=None if columns is None else list(columns))
    except (KeyError, ValueError, OSError) as problem:  # Arrow's own errors are ValueErrors
        raise InputError(f"{output.uri}: the result cannot be read: {problem}") from problem


def read_unchanged(output: Location, read: Callable[[], Result]) -> Result:
    """Return what `read` returns, which reads files of this folder; call it again if they were replaced meanwhile.

    A folder or file without a manifest is read as it is. Raises what `read` raises, and InputError if a run was stopped
    while it published there, or if results are replaced faster than they can be read.
    """
    deadline = monotonic() + _PATIENCE_S
    while True:
        before = _settled_manifest(output, deadline)
        try:
            result = read()
        except Exception:
            if _settled_manifest(output, deadline) == before:
                raise
        else:
            if _settled_manifest(output, deadline) == before:
                return result
        if monotonic() > deadline:
            raise InputError(f"{output.uri}: was replaced again and again while it was read, for {_PATIENCE_S:g} s")


def _settled_manifest(output: Location, deadline: float) -> bytes | None:
    """Return the manifest, after a switch that is going on has ended; None if there is none. Raises InputError."""
    while (manifest := _manifest_bytes(output)) is None:
        if not any(committed(output)):
            return _manifest_bytes(output)  # a switch may have ended between the two looks
        if output.filesystem.type_name == "local":
            with locked(output, shared=True):  # waits for the switch to end
                check_finished(output)
        elif monotonic() > deadline:
            check_finished(output)
        else:
            sleep(_PAUSE_S)
    return manifest


def _manifest_bytes(output: Location) -> bytes | None:
    try:
        content: bytes = Folder(output.filesystem, output.path).read(MANIFEST).to_pybytes()
    except FileNotFoundError:  # another run may have written it again since
        return None
    except OSError as problem:
        if output.join(MANIFEST).info().type == fs.FileType.NotFound:
            return None
        raise InputError(f"{output.uri}: {MANIFEST} cannot be read: {problem}") from problem
    return content


def check_finished(output: Location) -> None:
    """Raise InputError if a run was stopped between its commit and its manifest: only some files are in place."""
    if output.join(MANIFEST).info().type == fs.FileType.NotFound and any(committed(output)):
        raise InputError(
            f"{output.uri}: a run was stopped while it published its result here, and some files are not in place; "
            "start it again, it finishes that first"
        )


def committed(output: Location) -> Iterator[Location]:
    """Yield the staging folders of committed results whose switch has not ended."""
    for entry in Folder(output.filesystem, output.join(STAGING).path).listing():
        folder = output.join(STAGING, entry.base_name)
        if folder.join(JOURNAL).info().type == fs.FileType.File:
            yield folder


@contextmanager
def locked(output: Location, *, shared: bool = False) -> Iterator[None]:
    """Keep other processes from switching the result of a local folder; a killed process frees its lock.

    Any number of processes may hold a shared lock. Raises OutputError if the folder cannot be opened.
    """
    if output.filesystem.type_name != "local":
        yield
        return
    try:
        descriptor = os.open(output.path, os.O_RDONLY)
    except OSError as problem:
        raise OutputError(f"{output.uri}: cannot be opened: {problem}") from problem
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
