"""Write the ranked parts of a job as one TREC run file."""

from collections.abc import Iterator, Sequence
from posixpath import basename, dirname

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.formats.columns import Layout
from jobs.formats.trec import COLUMNS, run_lines
from jobs.pipeline.publish import PartReport
from jobs.pipeline.staging import ERRORS
from rerank.errors import OutputError
from rerank.paths import Location
from rerank.ranking.candidates import CANDIDATES, CandidateSets


def check_trec(target: Location, output: Location) -> None:
    """Raise OutputError if the run file cannot be written there. Call it before anything is scored."""
    if f"{target.path}/".startswith(f"{output.path}/"):
        raise OutputError(
            f"{target.uri}: lies in {output.uri}, whose files readers take for Parquet; give another path"
        )
    if target.info().type == fs.FileType.Directory:
        raise OutputError(f"{target.uri}: is a folder, expected a file to write the TREC run to")
    folder = dirname(target.path)
    if target.filesystem.type_name == "local" and target.filesystem.get_file_info(folder).type == fs.FileType.NotFound:
        raise OutputError(f"{target.uri}: there is no folder {folder} to write the TREC run to")


def write_trec(target: Location, folder: Location, parts: Sequence[PartReport], layout: Layout) -> None:
    """Write the ranked files in `folder` as one run file, a batch of rows at a time.

    The file appears under its name when it is complete. It is compressed if the name ends in `.gz`. Raises OutputError
    if the file cannot be written, or if an id contains white space.
    """
    names = sorted(file.name for part in parts for file in part.files if not file.name.startswith(ERRORS))
    filesystem = target.filesystem
    temporary = f"{dirname(target.path)}/_tmp-{basename(target.path)}"
    try:
        with filesystem.open_output_stream(
            temporary, compression="gzip" if target.path.endswith(".gz") else None
        ) as out:
            for name in names:
                for lines in run_lines(_ranked(folder.join(name), layout)):
                    out.write(lines.encode())
        filesystem.move(temporary, target.path)
    except (OSError, pa.ArrowException) as problem:
        raise OutputError(f"{target.uri}: cannot write the TREC run: {problem}") from problem


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
