"""The output folder: what may be written to, and how staged parts become a result in one step.

Parts are staged under a name that begins with an underscore, which readers skip, and moved into place when all are
there. The manifest is written last: its existence is the commit.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyarrow import fs

from jobs.formats.parquet import would_list
from jobs.pipeline.staging import ERRORS, STAGING, Staging
from rerank.errors import OutputError
from rerank.paths import Location, join_uri

MANIFEST = "_manifest.json"
SCORES = "_scores"
REPORT = "_report.html"  # of `rerank report`; it goes with the result that it tells of


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A staged file: where it will lie below the output folder, and its rows."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class PartReport:
    """What one write task staged, and the sums over its queries."""

    files: tuple[WrittenFile, ...]
    counts: dict[str, float]


def publish(staging: Staging, reports: list[PartReport], manifest: dict[str, Any]) -> None:
    """Move staged parts into place, replacing an earlier result, and write the manifest last. Raises OutputError."""
    output, filesystem = staging.output, staging.output.filesystem
    staging.check()
    try:
        _remove_published(output)
        if any(file.name.startswith(ERRORS) for report in reports for file in report.files):
            filesystem.create_dir(output.join(ERRORS).path)
        for report in reports:
            for file in report.files:
                filesystem.move(staging.folder.join(file.name).path, output.join(file.name).path)
        with filesystem.open_output_stream(staging.folder.join(MANIFEST).path) as stream:
            stream.write(json.dumps(manifest, indent=2).encode())
        filesystem.move(staging.folder.join(MANIFEST).path, output.join(MANIFEST).path)
        filesystem.delete_dir(output.join(STAGING).path)
    except OSError as problem:
        raise OutputError(f"{output.uri}: cannot publish the result: {problem}") from problem


def check_apart(output: Location, *, inputs: Sequence[Location], scores: Location | None) -> None:
    """Refuse an output that the next run would read as input, or what would be lost in it. Raises OutputError."""
    for given in inputs:
        if given.filesystem != output.filesystem:
            continue
        if would_list(given, output.join("part-0.parquet").path):
            raise OutputError(
                f"{output.uri}: lies in {given.uri}, where the next run would read it as input; give a folder elsewhere"
            )
        if given.path.startswith(f"{output.path}/"):
            raise OutputError(f"{given.uri}: lies in {output.uri}, which is to be written; give a folder elsewhere")
    if scores is None or scores.filesystem != output.filesystem:
        return
    inside = f"{scores.path}/".removeprefix(f"{output.path}/")
    if inside != f"{scores.path}/" and (inside[:1] != "_" or inside.split("/")[0] in {STAGING, ERRORS}):
        raise OutputError(
            f"{scores.uri}: lies in {output.uri}, whose files readers take for the result; give a folder elsewhere, "
            f"or {join_uri(output.uri, SCORES)}"
        )


def check_output(output: Location, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything but our own unfinished work. Raises OutputError."""
    info = output.info()
    if info.type == fs.FileType.NotFound:
        if bucket := output.missing_bucket():
            raise OutputError(f"{output.uri}: there is no bucket {bucket!r}, and none is made")
        return
    if info.type == fs.FileType.File:
        raise OutputError(f"{output.uri}: is a file, expected a folder to write to")
    names = {entry.base_name for entry in output.filesystem.get_file_info(fs.FileSelector(output.path))}
    foreign = sorted(name for name in names if not name.startswith(("_", "part-")))
    if foreign:
        raise OutputError(f"{output.uri}: holds other files ({', '.join(foreign[:3])}), expected an empty folder")
    if MANIFEST in names and not overwrite:
        raise OutputError(f"{output.uri}: holds a finished result; give another folder, or --overwrite to replace it")
    if names - {SCORES} and MANIFEST not in names and STAGING not in names:
        raise OutputError(f"{output.uri}: holds parts that no run of ours left there, expected an empty folder")


def _remove_published(output: Location) -> None:
    """Delete an earlier result, its manifest first: without that it is none."""
    filesystem = output.filesystem
    found = filesystem.get_file_info(fs.FileSelector(output.path))
    for entry in sorted(found, key=lambda entry: entry.base_name != MANIFEST):
        if entry.base_name in {MANIFEST, REPORT} or entry.base_name.startswith("part-"):
            filesystem.delete_file(entry.path)
        elif entry.base_name == ERRORS:
            filesystem.delete_dir(entry.path)
