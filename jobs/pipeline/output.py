"""The output folder before a run: whether the run may write there, and how it takes the folder over."""

import uuid
from collections.abc import Sequence

from pyarrow import fs

from jobs.formats.columns import Layout
from jobs.formats.parquet import would_list
from jobs.formats.tables.hive import is_key_type
from jobs.formats.tables.partitioned import is_partition
from jobs.input.candidates import columns_of
from jobs.input.join import RunJoin
from jobs.input.source import Source
from jobs.pipeline.publish import finish_interrupted
from jobs.pipeline.staging import ERRORS, MARK, Staging
from rerank.errors import ConfigError, OutputError
from rerank.paths import HUB, Location, join_uri
from rerank.ranking.candidates import CANDIDATES
from rerank.store.folder import Folder
from rerank.tables.published import MANIFEST, STAGING, locked

SCORES = "_scores"
_NO_KEYS = ("query_id", "query", "doc_id", "text", "score", CANDIDATES)


def check_apart(output: Location, *, inputs: Sequence[Location], scores: Location | None) -> None:
    """Raise OutputError if the next run would read the output as input, or if writing it would lose other files."""
    for source in inputs:
        if source.filesystem != output.filesystem:
            continue
        if would_list(source, output.join("part-0.parquet").path):
            raise OutputError(
                f"{output.uri}: lies in {source.uri}, where the next run would read it as input; "
                "give a folder elsewhere"
            )
        if source.path.startswith(f"{output.path}/"):
            raise OutputError(f"{source.uri}: lies in {output.uri}, which is to be written; give a folder elsewhere")
    if scores is None or scores.filesystem != output.filesystem:
        return
    below_output = f"{scores.path}/".removeprefix(f"{output.path}/")
    if below_output != f"{scores.path}/" and (
        below_output[:1] != "_" or below_output.split("/")[0] in {STAGING, ERRORS}
    ):
        raise OutputError(
            f"{scores.uri}: lies in {output.uri}, whose files readers take for the result; give a folder elsewhere, "
            f"or {join_uri(output.uri, SCORES)}"
        )


def check_output(output: Location, *, overwrite: bool) -> None:
    """Raise OutputError unless the folder is absent, empty, or holds only files that a run left there.

    A switch that was interrupted is finished first; the result is then a finished one like any other.
    """
    if output.filesystem.type_name == HUB:
        raise OutputError(f"{output.uri}: the Hub is read only; give a folder or an object store to write to")
    info = output.info()
    if info.type == fs.FileType.NotFound:
        if bucket := output.missing_bucket():
            raise OutputError(f"{output.uri}: there is no bucket {bucket!r}; give one that exists, none is created")
        return
    if info.type == fs.FileType.File:
        raise OutputError(f"{output.uri}: is a file, expected a folder to write to")
    entries = _entries(output)
    names = {entry.base_name for entry in entries}
    partitions = {entry.base_name for entry in entries if is_partition(entry)}
    foreign = sorted(name for name in names - partitions if not name.startswith(("_", "part-")))
    if foreign:
        raise OutputError(f"{output.uri}: holds other files ({', '.join(foreign[:3])}), expected an empty folder")
    if STAGING in names:
        with locked(output):
            finish_interrupted(output)
        names = _names(output)
    if MANIFEST in names and not overwrite:
        raise OutputError(f"{output.uri}: holds a finished result; give another folder, or --overwrite to replace it")
    if names - {SCORES} and MANIFEST not in names and STAGING not in names:
        raise OutputError(f"{output.uri}: holds files that no run left there, expected an empty folder")


def check_partition_by(names: Sequence[str], source: Source | RunJoin, layout: Layout) -> None:
    """Raise ConfigError unless these columns of the input can be keys of partitions of an output in this layout."""
    of_queries, of_candidates = columns_of(source)
    columns = of_queries if layout is Layout.QUERIES else of_candidates | of_queries
    for name in names:
        option = f"--partition-by {name}"
        if name in _NO_KEYS:
            raise ConfigError(f"{option}: expected a column that the run carries, {name!r} stays in the files")
        if name not in columns:
            where = "the queries have" if layout is Layout.QUERIES else "the input has"
            carried = ", ".join(column for column in columns if column not in _NO_KEYS) or "none"
            raise ConfigError(f"{option}: no such column; {where} {carried}")
        if name[0] in "_.":
            raise ConfigError(f"{option}: readers skip folders whose names begin with {name[0]!r}")
        if not is_key_type(columns[name]):
            raise ConfigError(f"{option}: expected strings, whole numbers, booleans or dates, got {columns[name]}")
    if len(set(names)) < len(names):
        raise ConfigError(f"--partition-by: each column once, got {', '.join(names)}")


def stage(output: Location) -> Staging:
    """Make a staging folder, and delete those of earlier runs. Raises OutputError.

    A run that is still writing to such a folder stops. If it has committed its result, the switch is finished.
    """
    filesystem, root = output.filesystem, output.join(STAGING)
    staging = Staging(output, root.join(uuid.uuid4().hex[:8]))
    try:
        Folder(filesystem, root.path).create()
        with locked(output):
            earlier = Folder(filesystem, root.path).listing()
            # Before anything is deleted: as long as there is a staging folder, the next run takes these files over.
            Folder(filesystem, staging.folder.join(ERRORS).path).create()
            with filesystem.open_output_stream(staging.folder.join(MARK).path):
                pass
            # In this order: a run commits first and looks for its mark after that. So it either finds the mark gone and
            # switches nothing, or its commit is seen here.
            for mark in filesystem.get_file_info([f"{entry.path}/{MARK}" for entry in earlier]):
                if mark.type == fs.FileType.File:
                    filesystem.delete_file(mark.path)
            finish_interrupted(output)
            for entry in earlier:
                _delete(filesystem, entry)
    except OSError as problem:
        raise OutputError(f"{output.uri}: cannot be written to: {problem}") from problem
    return staging


def _delete(filesystem: fs.FileSystem, entry: fs.FileInfo) -> None:
    if entry.type == fs.FileType.Directory:
        Folder(filesystem, entry.path).delete_all()
    else:
        filesystem.delete_file(entry.path)


def _names(output: Location) -> set[str]:
    return {entry.base_name for entry in _entries(output)}


def _entries(output: Location) -> list[fs.FileInfo]:
    return Folder(output.filesystem, output.path).listing()
