"""Read Parquet as one row per pair, whatever its layout: ranked output, candidate sets, plain runs."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from rerank.errors import InputError
from rerank.paths import Location
from rerank.ranking.candidates import CANDIDATES, CandidateSets


def pair_columns(location: Location, renames: Mapping[str, str] | None = None) -> dict[str, pa.DataType]:
    """Return the columns that each pair has, those of its query included: our name → type. Raises InputError."""
    fields = {field.name: field.type for field in _dataset(location).schema}
    lists = fields.pop((renames or {}).get(CANDIDATES, CANDIDATES), None)
    fields |= {field.name: field.type for field in _fields_inside(lists)}
    for name, file_name in (renames or {}).items():
        if file_name not in fields and not (name == CANDIDATES and lists):
            raise InputError(f"{location.uri}: no column {file_name!r} to read as {name!r}; found {', '.join(fields)}")
    our_names = {file_name: name for name, file_name in (renames or {}).items()}
    fields = {our_names.get(name, name): kind for name, kind in fields.items()}
    for name in ("query_id", "doc_id"):
        if name not in fields:
            raise InputError(f"{location.uri}: column {name!r} is missing, found {', '.join(fields) or 'no columns'}")
    return fields


def fitting(location: Location, renames: Mapping[str, str]) -> dict[str, str]:
    """Return the renames whose columns exist: a file may have the column names of the run's input, or ours."""
    schema = _dataset(location).schema
    inner = [field.name for kind in schema.types for field in _fields_inside(kind)]
    return {name: file_name for name, file_name in renames.items() if file_name in {*schema.names, *inner}}


def read_pairs(
    location: Location,
    names: Sequence[str],
    *,
    renames: Mapping[str, str] | None = None,
    only: Sequence[str] | None = None,
) -> pa.Table:
    """Read `query_id, doc_id` as large_string and the named columns, in file order, without pairs that lack an id.

    `renames` maps our names to those of the file. `only` keeps the pairs of these query ids; other pairs are filtered
    while reading and never held in memory. Raises InputError.
    """
    dataset = _dataset(location)
    columns = list(dict.fromkeys(("query_id", "doc_id", *names)))
    file_columns = [(renames or {}).get(name, name) for name in columns]
    lists = (renames or {}).get(CANDIDATES, CANDIDATES)
    kept = None
    if only is not None:
        kept = ds.field(file_columns[0]).cast(pa.large_string()).isin(pa.array(only, pa.large_string()))
    try:
        if lists in dataset.schema.names:
            outer = [name for name in file_columns if name in dataset.schema.names]
            table = dataset.to_table(columns=[*outer, lists], filter=kept)
            table = CandidateSets.from_table(table.rename_columns([*outer, CANDIDATES])).to_rows()
        else:
            table = dataset.to_table(columns=file_columns, filter=kept)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{location.uri}: cannot be read: {problem}") from problem
    table = table.select(file_columns).rename_columns(columns)
    for at in (0, 1):
        table = table.set_column(at, columns[at], table.column(at).cast(pa.large_string()))
    return table.filter(pc.and_(pc.is_valid(table.column(0)), pc.is_valid(table.column(1))))


def count_pairs(location: Location, renames: Mapping[str, str] | None = None) -> int:
    """Count the pairs from the Parquet footers; an empty list counts as one. Raises InputError."""
    doc_id = (renames or {}).get("doc_id", "doc_id")
    footers = (fragment.metadata for fragment in _dataset(location).get_fragments())
    groups = (footer.row_group(at) for footer in footers for at in range(footer.num_row_groups))
    columns = ([group.column(at) for at in range(group.num_columns)] for group in groups)
    return sum(next(int(c.num_values) for c in of if c.path_in_schema.split(".")[-1] == doc_id) for of in columns)


def _fields_inside(lists: pa.DataType | None) -> list[pa.Field]:
    """Return the fields of a list of structs; no fields for any other type."""
    inner = getattr(lists, "value_type", None)
    return list(inner) if inner is not None and pa.types.is_struct(inner) else []


def _dataset(location: Location) -> ds.Dataset:
    try:
        return ds.dataset(location.path, filesystem=location.filesystem, format="parquet", partitioning=None)
    except FileNotFoundError:
        raise InputError(f"{location.uri}: no such file or directory") from None
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{location.uri}: not readable as Parquet: {problem}") from problem
