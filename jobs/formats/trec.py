"""A ranking as a TREC run file: `query_id Q0 doc_id rank score tag`, the format that trec_eval and its kin read."""

from collections.abc import Iterator, Sequence
from posixpath import basename, dirname

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.formats.columns import Layout
from jobs.pipeline.publish import PartReport
from jobs.pipeline.staging import ERRORS
from rerank.errors import OutputError
from rerank.paths import Location
from rerank.ranking.candidates import CANDIDATES, CandidateSets, combined
from rerank.ranking.rank import FloatArray

_TAG = "rerank"
_COLUMNS = ["query_id", "doc_id", "rank", "logit"]
_APART = 1 << 40  # further than any two logits are, in representable numbers


def check_trec(target: Location, output: Location) -> None:
    """Refuse what cannot become a run file, before anything is scored. Raises OutputError."""
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
    """Write the ranked files in `folder` as one run file, a batch of rows at a time; it appears whole.

    The score column holds the logit: trec_eval orders by it, and relevance scores near 1 are equal where logits are
    not. Among equal logits trec_eval would order by doc_id, so each is lowered to the next number below the one
    before. A name that ends in .gz is compressed. Raises OutputError, also where an id has white space in it.
    """
    filesystem = target.filesystem
    temporary = f"{dirname(target.path)}/_tmp-{basename(target.path)}"
    try:
        with filesystem.open_output_stream(
            temporary, compression="gzip" if target.path.endswith(".gz") else None
        ) as out:
            for lines in _lines(folder, parts, layout):
                out.write(lines.encode())
        filesystem.move(temporary, target.path)
    except (OSError, pa.ArrowException) as problem:
        raise OutputError(f"{target.uri}: cannot write the TREC run: {problem}") from problem


def _lines(folder: Location, parts: Sequence[PartReport], layout: Layout) -> Iterator[str]:
    names = (file.name for part in parts for file in part.files)
    for name in sorted(name for name in names if not name.startswith(ERRORS)):
        last: np.int64 | None = None  # of a query that began in the batch before
        for rows in _ranked(folder.join(name), layout):
            ids = [_checked(combined(rows.column(column)).cast(pa.string()), column) for column in _COLUMNS[:2]]
            rank = combined(rows.column("rank"))
            keys = strictly_descending(
                _keys(np.nan_to_num(rows.column("logit").to_numpy())), rank.to_numpy() == 1, last
            )
            last = keys[-1]
            score = pa.array(_from_keys(keys)).cast(pa.string())
            columns = [ids[0], "Q0", ids[1], rank.cast(pa.string()), score, f"{_TAG}\n"]
            yield "".join(pc.binary_join_element_wise(*columns, " ").to_pylist())


def _ranked(part: Location, layout: Layout) -> Iterator[pa.Table]:
    """Rows of a ranked part, best first and query by query."""
    wanted = _COLUMNS if layout is Layout.PAIRS else ["query_id", CANDIDATES]
    with part.filesystem.open_input_file(part.path) as opened:
        for batch in pq.ParquetFile(opened, pre_buffer=False).iter_batches(columns=wanted):
            rows = pa.Table.from_batches([batch])
            if layout is Layout.QUERIES:
                sets = CandidateSets.from_table(rows)
                rows = sets.candidates.append_column("query_id", sets.queries["query_id"].take(pa.array(sets.query_of)))
            if rows.num_rows:
                yield rows


def _checked(ids: pa.Array, name: str) -> pa.Array:
    broken = pc.match_substring_regex(ids, r"\s|^$")
    if pc.any(broken).as_py():
        value = ids.filter(broken)[0].as_py()
        raise OutputError(f"a TREC run cannot hold the {name} {value!r}, for its columns are parted by white space")
    return ids


def strictly_descending(
    keys: npt.NDArray[np.int64], first: npt.NDArray[np.bool_], before: np.int64 | None = None
) -> npt.NDArray[np.int64]:
    """Keys of queries one behind the other, lowered as little as makes each query's strictly descending.

    `first` marks the first key of each query; `before` is the key before the first one, where they are of one query.
    """
    place, query = np.arange(len(keys)), np.cumsum(first) * _APART
    start = keys[:1] if before is None else np.array([before - 1])
    lowest = np.minimum.accumulate(np.concatenate([start, keys + place - query]))[1:]
    lowered: npt.NDArray[np.int64] = lowest - place + query
    return lowered


def _keys(logits: FloatArray) -> npt.NDArray[np.int64]:
    """Integers in the order of the logits, neighbours for neighbouring float32."""
    bits = np.ascontiguousarray(logits, dtype=np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFF_FFFF), bits)


def _from_keys(keys: npt.NDArray[np.int64]) -> FloatArray:
    bits = np.where(keys < 0, -keys | 0x8000_0000, keys).astype(np.uint32)
    return bits.view(np.float32)
