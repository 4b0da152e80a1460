"""The TREC run of a job: its ids are checked first, it is staged with the ranked parts and put in place with them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from posixpath import basename, dirname

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.console import plural
from jobs.formats.columns import Layout
from jobs.formats.trec import COLUMNS, check_ids, run_lines
from jobs.input.candidates import Input
from jobs.input.join import RunJoin, wide_id
from jobs.input.query_ids import RUNS, THREADS
from jobs.input.source import RowGroup
from jobs.pipeline.staging import ERRORS, PartReport
from rerank.errors import OutputError, RerankError
from rerank.paths import Location, locate
from rerank.ranking.candidates import CANDIDATES, CandidateSets
from rerank.store.folder import TEMPORARY, Folder


class TrecError(OutputError):
    """The TREC run of a committed result cannot be written. Nothing else of the result is in its place yet."""


def check_trec(target: Location, output: Location, *, overwrite: bool) -> None:
    """Raise OutputError if the run file cannot be written there, or if a file is there and `overwrite` is False."""
    if f"{target.path}/".startswith(f"{output.path}/"):
        raise OutputError(
            f"{target.uri}: lies in {output.uri}, whose files readers take for Parquet; give another path"
        )
    kind = target.info().type
    if kind == fs.FileType.Directory:
        raise OutputError(f"{target.uri}: is a folder, expected a file to write the TREC run to")
    if kind != fs.FileType.NotFound and not overwrite:
        raise OutputError(f"{target.uri}: exists; give another path, or --overwrite to replace it")
    folder = dirname(target.path)
    if target.filesystem.type_name == "local" and target.filesystem.get_file_info(folder).type == fs.FileType.NotFound:
        raise OutputError(f"{target.uri}: there is no folder {folder} to write the TREC run to")


def check_trec_ids(job_input: Input) -> None:
    """Raise OutputError if an id has white space or is in two partitions, which no TREC run can hold.

    Reads only the columns of ids. Candidates that a run would reject or leave out are checked too.
    """
    if job_input.shared:
        raise OutputError(
            f"a TREC run has no column for partitions, found {plural(job_input.shared, 'query id')} in more than one; "
            "give the folder of one partition as IN"
        )
    source = job_input.source
    rows = source.rows if isinstance(source, RunJoin) else source
    wanted = wide_id(source.query_ids) if isinstance(source, RunJoin) and source.is_limited else None

    def check(run: tuple[RowGroup, ...]) -> None:
        columns = ["query_id"] if rows.layout is Layout.QUERIES else ["query_id", "doc_id"]
        for table in rows.read(*run, columns=columns):
            if wanted is not None:
                table = table.filter(pc.is_in(wide_id(table.column("query_id")), value_set=wanted))
            for name in columns:
                check_ids(table.column(name), name)
        if rows.layout is Layout.QUERIES:
            for doc_ids in rows.read_doc_ids(*run):
                check_ids(doc_ids, "doc_id")

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(check, rows.runs(RUNS)))


def write_trec(target: Location, folder: Location, parts: Sequence[PartReport], layout: Layout) -> None:
    """Write the ranked files in `folder` as one run file, a batch of rows at a time, and flush it.

    It is compressed if the name ends in `.gz`. Raises OutputError if the file cannot be written, or if an id contains
    white space.
    """
    names = sorted(file.name for part in parts for file in part.files if not file.name.startswith(ERRORS))
    compression = "gzip" if target.path.endswith(".gz") else None
    try:
        with target.filesystem.open_output_stream(target.path, compression=compression) as out:
            for name in names:
                for lines in run_lines(_ranked(folder.join(name), layout)):
                    out.write(lines.encode())
        Folder(target.filesystem, dirname(target.path)).flush(basename(target.path))
    except (OSError, pa.ArrowException) as problem:
        raise OutputError(f"{target.uri}: cannot write the TREC run: {problem}") from problem


def as_json(staged: Location, target: Location) -> dict[str, str]:
    """Return the arguments of `place_trec` for a journal, without secrets.

    A local path is absolute, because the run that finishes an interrupted one may start in another folder.
    """
    is_local = target.filesystem.type_name == "local"
    return {"staged": basename(staged.path), "target": target.path if is_local else target.uri}


def place_trec(folder: Location, staged: str, target: str, *, place: Location | None = None) -> None:
    """Copy the staged TREC run to `place`, by default to the path or URI `target`. Raises TrecError.

    Unlike a rename a copy can be repeated, and can lead to another disk.
    """
    try:
        place = place or locate(target)
        Folder(place.filesystem, dirname(place.path)).copy(
            basename(place.path), folder.join(staged), temporary=f"{TEMPORARY}{basename(folder.path)}"
        )
    except (OSError, RerankError) as problem:
        raise TrecError(f"{target}: cannot write the TREC run: {problem}") from problem


def _ranked(part: Location, layout: Layout) -> Iterator[pa.Table]:
    """Yield the rows of a ranked part in batches: query by query, the best candidate first."""
    columns = COLUMNS if layout is Layout.PAIRS else ["query_id", CANDIDATES]
    with part.filesystem.open_input_file(part.path) as file:
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(columns=columns):
            rows = pa.Table.from_batches([batch])
            if layout is Layout.QUERIES:
                sets = CandidateSets.from_table(rows)
                rows = sets.candidates.append_column("query_id", sets.queries["query_id"].take(pa.array(sets.query_of)))
            if rows.num_rows:
                yield rows
