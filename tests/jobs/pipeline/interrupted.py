"""Runs that are killed between two operations on their output folder, and what has to be true afterwards."""

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.pipeline.output import check_output, stage
from jobs.pipeline.publish import MANIFEST, REPORT, PartReport, WrittenFile, publish
from jobs.pipeline.staging import ERRORS, Staging
from rerank.errors import OutputError
from rerank.paths import Location

OLD = [f"{ERRORS}/part-0.parquet", "part-0.parquet", "part-1.parquet"]
NEW = [f"{ERRORS}/part-2.parquet", "part-2.parquet", "part-3.parquet"]
LAST = ["part-4.parquet"]


class Killed(BaseException):
    """The end of a process: no handler of errors catches it."""


class KillingFileSystem:
    """Passes calls on to a filesystem, and raises `error` instead of making change number `at` (0 is the first).

    `type_name` "s3" on a local disk makes it change what an object store would: it has no rename.
    """

    def __init__(
        self, filesystem: fs.FileSystem, *, at: int, error: BaseException | None = None, type_name: str | None = None
    ) -> None:
        self._filesystem = filesystem
        self.type_name = type_name or filesystem.type_name
        self._left = at
        self._error = error or Killed()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._filesystem, name)

    def _count(self) -> None:
        self._left -= 1
        if self._left == -1:
            raise self._error

    def create_dir(self, *arguments: Any, **options: Any) -> None:
        self._count()
        self._filesystem.create_dir(*arguments, **options)

    def delete_dir(self, path: str) -> None:
        self._count()
        self._filesystem.delete_dir(path)

    def delete_file(self, path: str) -> None:
        self._count()
        self._filesystem.delete_file(path)

    def open_output_stream(self, *arguments: Any) -> Any:
        self._count()
        return self._filesystem.open_output_stream(*arguments)

    def move(self, source: str, target: str) -> None:
        """A rename on a local disk; on an object store a copy, after which the run may die, and a deletion."""
        self._count()
        if self.type_name == "local":
            self._filesystem.move(source, target)
            return
        self._filesystem.copy_file(source, target)
        self.delete_file(source)


def publish_parts(
    staging: Staging, names: list[str], *, overwrite: bool = True, filesystem: KillingFileSystem | None = None
) -> None:
    """Stage files of these names and publish them, on `filesystem` if it is given."""
    for name in names:
        place = staging.folder.join(name)
        pq.write_table(pa.table({"name": [name]}), place.path, filesystem=place.filesystem)
    if filesystem is not None:
        output, folder = (replace(place, filesystem=filesystem) for place in (staging.output, staging.folder))
        staging = Staging(output, folder)
    reports = [PartReport((WrittenFile(name, 1),), {}) for name in names]
    publish(staging, reports, {"names": names}, overwrite=overwrite)


def files_in(output: Location) -> list[str]:
    """Return the names of all files of the result, relative to the output folder."""
    selector = fs.FileSelector(output.path, recursive=True)
    names = [entry.path.removeprefix(f"{output.path}/") for entry in output.filesystem.get_file_info(selector)]
    return sorted(name for name in names if name.startswith(("part-", f"{ERRORS}/part-")))


def manifest_in(output: Location) -> list[str] | None:
    """Return the names that the manifest was published with, or None if there is no manifest."""
    path = output.join(MANIFEST).path
    if output.filesystem.get_file_info(path).type == fs.FileType.NotFound:
        return None
    with output.filesystem.open_input_stream(path) as stream:
        names: list[str] = json.loads(stream.read())["names"]
        return names


def kill_while_publishing(output: Location, at: int, *, earlier: bool, type_name: str | None = None) -> bool:
    """Publish NEW, over OLD if `earlier`, and die at the change of that number. Return True if it died."""
    if earlier:
        publish_parts(stage(output), OLD)
        with output.filesystem.open_output_stream(output.join(REPORT).path):
            pass
    staging = stage(output)
    try:
        publish_parts(staging, NEW, filesystem=KillingFileSystem(output.filesystem, at=at, type_name=type_name))
    except Killed:
        return True
    return False


def check_after_kill(output: Location) -> bool:
    """Check what a killed run left and that the next run goes on from there. Return True if NEW was committed."""
    files, manifest = files_in(output), manifest_in(output)
    assert set(files) <= set(OLD) or set(files) <= set(NEW)
    if manifest is not None:
        assert files == manifest
    try:
        check_output(output, overwrite=False)
    except OutputError as problem:
        assert "holds a finished result" in str(problem)
    manifest = manifest_in(output)
    assert files_in(output) == (manifest or [])
    assert manifest in (None, OLD, NEW)
    check_output(output, overwrite=True)
    publish_parts(stage(output), LAST)
    names = {entry.base_name for entry in output.filesystem.get_file_info(fs.FileSelector(output.path))}
    assert names == {MANIFEST, *LAST}
    return manifest == NEW
