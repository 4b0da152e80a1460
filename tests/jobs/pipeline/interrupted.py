"""Runs that are killed between two operations on their output folder, and what has to be true afterwards."""

import json
import re
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.pipeline.output import check_output, stage
from jobs.pipeline.publish import REPORT, publish
from jobs.pipeline.staging import ERRORS, PartReport, Staging, WrittenFile
from rerank.errors import OutputError
from rerank.paths import Location
from rerank.tables.published import MANIFEST
from tests.killing import InterruptedFileSystem, Killed

OLD = [f"{ERRORS}/part-0.parquet", "day=1/part-1.parquet", "part-0.parquet"]
NEW = [f"{ERRORS}/part-2.parquet", "day=1/part-2.parquet", "day=2/lang=de/part-3.parquet"]
LAST = ["part-4.parquet"]


def publish_parts(
    staging: Staging, names: list[str], *, overwrite: bool = True, filesystem: InterruptedFileSystem | None = None
) -> None:
    """Stage files of these names and publish them, on `filesystem` if it is given."""
    for name in names:
        place = staging.folder.join(name)
        place.filesystem.create_dir(place.path.rpartition("/")[0], recursive=True)
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
    is_result = re.compile(rf"({ERRORS}/|(\w+=\w+/)*)part-").match
    return sorted(name for name in names if is_result(name))


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
        publish_parts(staging, NEW, filesystem=InterruptedFileSystem(output.filesystem, at=at, type_name=type_name))
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
    entries = output.filesystem.get_file_info(fs.FileSelector(output.path, recursive=True))
    has_folders = output.filesystem.type_name != "local"  # that are empty
    names = {entry.base_name for entry in entries if entry.type == fs.FileType.File or not has_folders}
    assert names == {MANIFEST, *LAST}
    return manifest == NEW
