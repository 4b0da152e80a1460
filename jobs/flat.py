"""Parquet with a row per pair, whichever layout it is written in: ranked output, candidate sets, plain runs."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from rerank.candidates import CANDIDATES, CandidateSets
from rerank.errors import InputError
from rerank.paths import Location


def pair_columns(location: Location) -> dict[str, pa.DataType]:
    """Names and types of what each pair has, the query's columns among them. Raises InputError."""
    fields = {field.name: field.type for field in _dataset(location).schema}
    lists = fields.pop(CANDIDATES, None)
    inner = getattr(lists, "value_type", None)
    if inner is not None and pa.types.is_struct(inner):
        fields |= {field.name: field.type for field in inner}
    for name in ("query_id", "doc_id"):
        if name not in fields:
            raise InputError(f"{location.uri}: column {name!r} is missing, found {', '.join(fields) or 'no columns'}")
    return fields


def read_pairs(location: Location, names: Sequence[str]) -> pa.Table:
    """`query_id, doc_id` as large_string and the named columns, in file order; pairs without an id are left out."""
    dataset = _dataset(location)
    wanted = list(dict.fromkeys(("query_id", "doc_id", *names)))
    try:
        if CANDIDATES in dataset.schema.names:
            outer = [name for name in wanted if name in dataset.schema.names]
            table = _flattened(dataset.to_table(columns=[*outer, CANDIDATES])).select(wanted)
        else:
            table = dataset.to_table(columns=wanted)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{location.uri}: cannot be read: {problem}") from problem
    for name in ("query_id", "doc_id"):
        at = table.column_names.index(name)
        table = table.set_column(at, name, table.column(name).cast(pa.large_string()))
    return table.filter(pc.and_(pc.is_valid(table.column("query_id")), pc.is_valid(table.column("doc_id"))))


def _dataset(location: Location) -> ds.Dataset:
    try:
        return ds.dataset(location.path, filesystem=location.filesystem, format="parquet", partitioning=None)
    except FileNotFoundError:
        raise InputError(f"{location.uri}: no such file or directory") from None
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{location.uri}: not readable as Parquet: {problem}") from problem


def _flattened(table: pa.Table) -> pa.Table:
    sets = CandidateSets.from_table(table)
    rows = sets.queries.take(pa.array(sets.query_of))
    for name in sets.candidates.column_names:
        rows = rows.append_column(name, sets.candidates.column(name))
    return rows
