"""Hive partitions of an output: cut blocks of ranked candidate sets into them, and delete them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from jobs.formats.tables.hive import Keys, group_by_keys
from rerank.errors import OutputError
from rerank.ranking.candidates import CandidateSets, combined, keep_columns
from rerank.store.folder import TEMPORARY, Folder


def by_partition(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[Keys, pa.Table]]:
    """Yield the keys of each partition and its queries, without the columns `names`, which the keys replace.

    A column may be one of the queries or of the candidates. Raises OutputError if candidates of one query differ in it.
    """
    if not names or not table.num_rows:
        yield (), table
        return
    sets = CandidateSets.from_table(table)
    numbers, keys = group_by_keys({name: _of_queries(sets, name) for name in names})
    of_queries = [name for name in names if name in sets.queries.column_names]
    candidates = keep_columns(sets.candidates, without=set(names).difference(of_queries))
    rest = replace(sets, queries=sets.queries.drop_columns(of_queries), candidates=candidates).to_table()
    for number, partition in enumerate(keys):
        yield partition, rest.filter(pa.array(numbers == number))


def is_partition(entry: fs.FileInfo) -> bool:
    """Return True for a folder that holds a Hive partition of a result."""
    return entry.type == fs.FileType.Directory and "=" in entry.base_name


def remove_partition(filesystem: fs.FileSystem, folder: fs.FileInfo, kept: set[str]) -> None:
    """Delete the parts in a partition that are not kept, and on a local disk the folders that are empty then.

    An object store has no folders, and no other filesystem can delete a folder on condition that it is empty.
    """
    entries = [*Folder(filesystem, folder.path).listing(recursive=True), folder]
    for entry in entries:
        is_ours = entry.type == fs.FileType.File and entry.base_name.startswith(("part-", TEMPORARY))
        if is_ours and entry.path not in kept:
            filesystem.delete_file(entry.path)
    if filesystem.type_name == "local":
        for path in sorted((entry.path for entry in entries if entry.type == fs.FileType.Directory), reverse=True):
            with suppress(OSError):
                Path(path).rmdir()


def _of_queries(sets: CandidateSets, name: str) -> pa.Array:
    """Return the value of each query; null for a query without candidates, if they have the column."""
    if name in sets.queries.column_names:
        return combined(sets.queries.column(name))
    values = combined(sets.candidates.column(name))
    codes = pc.dictionary_encode(values, null_encoding="encode").indices.to_numpy()
    lengths, first = np.diff(sets.offsets), sets.offsets[:-1]
    differing = np.flatnonzero(codes != np.repeat(codes[first[lengths > 0]], lengths[lengths > 0]))
    if len(differing):
        query = int(sets.query_of[differing[0]])
        pair = (values[int(first[query])].as_py(), values[int(differing[0])].as_py())
        raise OutputError(
            f"cannot write partitions by {name!r}: the candidates of query_id "
            f"{sets.queries.column('query_id')[query].as_py()!r} have {pair[0]!r} and {pair[1]!r}, "
            "and a query lies within one partition"
        )
    return values.take(pa.array(np.where(lengths > 0, first, 0), mask=lengths == 0))
