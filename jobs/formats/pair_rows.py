"""Read Parquet as one row per pair, whatever its layout: ranked output, candidate sets, plain runs."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.formats.slices import read_slices
from rerank.errors import InputError
from rerank.paths import Location
from rerank.ranking.candidates import CANDIDATES, CandidateSets
from rerank.sizes import wide_type

_BYTES_PER_SLICE = 16 << 20


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
    kept = None if only is None else pa.array(only, pa.large_string())
    is_kept = None if kept is None else ds.field(file_columns[0]).cast(pa.large_string()).isin(kept)
    try:
        if lists in dataset.schema.names:
            table = pa.concat_tables(_flattened(dataset, lists, file_columns, kept), promote_options="permissive")
        else:
            table = dataset.to_table(columns=file_columns, filter=is_kept)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{location.uri}: cannot be read: {problem}") from problem
    table = table.select(file_columns).rename_columns(columns)
    for at in (0, 1):
        table = table.set_column(at, columns[at], table.column(at).cast(pa.large_string()))
    return table.filter(pc.and_(pc.is_valid(table.column(0)), pc.is_valid(table.column(1))))


def _flattened(dataset: ds.Dataset, lists: str, columns: Sequence[str], kept: pa.Array | None) -> Iterator[pa.Table]:
    """Yield one row per candidate with these columns, of the queries `kept`; other columns are never read."""
    fields = [field for field in dataset.schema if field.name in (*columns, lists)]
    empty = pa.schema([field.with_type(wide_type(field.type)) for field in fields]).empty_table()
    yield _candidate_sets(empty, lists).to_rows().select(columns)
    for fragment in dataset.get_fragments():
        paths = [fragment.metadata.schema.column(at).path for at in range(len(fragment.metadata.schema))]
        read = [path for path in paths if _is_in(path, lists, columns)]
        with fragment.filesystem.open_input_file(fragment.path) as stream:
            groups = range(fragment.metadata.num_row_groups)
            for table in read_slices(stream, groups, columns=read, most_bytes=_BYTES_PER_SLICE):
                if kept is not None:
                    table = table.filter(pc.is_in(table.column(columns[0]).cast(pa.large_string()), value_set=kept))
                for rows in _candidate_sets(table, lists).to_row_slices(_BYTES_PER_SLICE):
                    yield rows.select(columns)


def _candidate_sets(table: pa.Table, lists: str) -> CandidateSets:
    return CandidateSets.from_table(
        table.rename_columns([CANDIDATES if name == lists else name for name in table.column_names])
    )


def _is_in(path: str, lists: str, columns: Sequence[str]) -> bool:
    """Return True if a path of a Parquet file leads to one of these columns, of the table or inside its lists."""
    first, *inner = path.split(".")
    return path in columns or first in columns or (first == lists and any(name in columns for name in inner))


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
