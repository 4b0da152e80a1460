"""The columns that an input must have: their names, their types, and the layout they imply."""

from enum import StrEnum

import pyarrow as pa

from rerank.errors import InputError
from rerank.ranking.candidates import CANDIDATES
from rerank.ranking.reject import INSTRUCTION
from rerank.ranking.vectors import VECTORS, holds_vectors


class Layout(StrEnum):
    """Layout of candidate sets in a table: one row per query with a list of candidates, or one row per pair."""

    QUERIES = "queries"
    PAIRS = "pairs"


TEXT_COLUMNS = ("query_id", "query", "doc_id", "text")


class Kind(StrEnum):
    """Type that a column must have."""

    ID = "a string or an integer"
    TEXT = "a string"
    NUMBER = "a number"
    VECTORS = "lists of floats, or lists of such lists"


def rename(uri: str, schema: pa.Schema, renames: dict[str, str]) -> pa.Schema:
    """Return the schema with our column names, in the table and inside its candidates. Raises InputError."""
    our_names = {file_name: name for name, file_name in renames.items()}
    fields, file_names = [], list(schema.names)
    for field in schema:
        named = field.with_name(our_names.get(field.name, field.name)).remove_metadata()
        if named.name == CANDIDATES and is_list(field.type) and pa.types.is_struct(field.type.value_type):
            inner = list(field.type.value_type)
            file_names += [part.name for part in inner]
            parts = pa.struct([part.with_name(our_names.get(part.name, part.name)) for part in inner])
            named = named.with_type(pa.list_(parts) if pa.types.is_list(field.type) else pa.large_list(parts))
            check_distinct(uri, [part.name for part in parts])
        fields.append(named)
    for name, file_name in renames.items():
        if file_name not in file_names:
            raise InputError(f"{uri}: no column {file_name!r} to read as {name!r}; found {', '.join(file_names)}")
    check_distinct(uri, [field.name for field in fields])
    return pa.schema(fields)


def check_distinct(uri: str, names: list[str]) -> None:
    """Raise InputError if two columns have the same name."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(
            f"{uri}: two columns are called {twice!r}, expected one (--column other={twice} reads that one as other)"
        )


def recognise(uri: str, schema: pa.Schema) -> Layout:
    """Recognise the layout from the column types. Raises InputError."""
    if CANDIDATES in schema.names and is_list(schema.field(CANDIDATES).type):
        return Layout.QUERIES
    if "doc_id" in schema.names and not {"text", VECTORS}.isdisjoint(schema.names):
        return Layout.PAIRS
    raise InputError(
        f"{uri}: no candidate sets: expected query_id, query and either candidates: list<struct<doc_id, text>> or "
        f"doc_id, text; found {describe(schema)} (rename with --column text=body)"
    )


def check_columns(uri: str, layout: Layout, schema: pa.Schema) -> None:
    """Raise InputError if candidate sets lack a column or it has the wrong type."""
    inner = schema
    if layout is Layout.QUERIES:
        lists = schema.field(CANDIDATES).type if CANDIDATES in schema.names else None
        if lists is None or not is_list(lists) or not pa.types.is_struct(lists.value_type):
            raise InputError(
                f"{uri}: candidates must be list<struct<doc_id, text, …>>, found {lists or 'no such column'}"
            )
        inner = pa.schema(list(lists.value_type))
    for name, holder, kind in (
        ("query_id", schema, Kind.ID),
        ("query", schema, Kind.TEXT),
        ("doc_id", inner, Kind.ID),
    ):
        check_column(uri, holder, name, kind)
    check_documents(uri, inner)
    if INSTRUCTION in schema.names:
        check_column(uri, schema, INSTRUCTION, Kind.TEXT)


def check_documents(uri: str, schema: pa.Schema) -> None:
    """Raise InputError if documents have neither a text nor vectors, or one of them has the wrong type."""
    if VECTORS in schema.names:
        check_column(uri, schema, VECTORS, Kind.VECTORS)
    if "text" in schema.names or VECTORS not in schema.names:
        check_column(uri, schema, "text", Kind.TEXT)


def check_column(uri: str, schema: pa.Schema, name: str, kind: Kind) -> None:
    """Raise InputError if a column is missing or has the wrong type."""
    if name not in schema.names:
        raise InputError(f"{uri}: column {name!r} is missing, found {describe(schema)}")
    column_type = schema.field(name).type
    if not any(test(column_type) for test in _ACCEPTED[kind]):
        raise InputError(f"{uri}: column {name!r} must be {kind}, found {column_type}")


def text_type(name: str, kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is read as: ids and texts in bytes are strings, and so are ids that are UUIDs."""
    if name in TEXT_COLUMNS and pa.types.is_binary(kind):
        return pa.string()
    if name in TEXT_COLUMNS and pa.types.is_large_binary(kind):
        return pa.large_string()
    return pa.string() if name in ("query_id", "doc_id") and is_uuid(kind) else kind


def with_text_types(schema: pa.Schema, ours: pa.Schema) -> pa.Schema:
    """Return a schema, which has our columns under any names, with the types that ids and texts are read as."""
    fields = [field.with_type(text_type(name, field.type)) for field, name in zip(schema, ours.names, strict=True)]
    lists = ours.field(CANDIDATES).type if CANDIDATES in ours.names else None
    if lists is not None and is_list(lists) and pa.types.is_struct(lists.value_type):
        at = ours.names.index(CANDIDATES)
        parts = zip(fields[at].type.value_type, lists.value_type, strict=True)
        inner = pa.struct([part.with_type(text_type(our.name, part.type)) for part, our in parts])
        fields[at] = fields[at].with_type(pa.list_(inner) if pa.types.is_list(lists) else pa.large_list(inner))
    return pa.schema(fields)


def is_uuid(kind: pa.DataType) -> bool:
    """Return True for Arrow's type of UUIDs, which Parquet's is read as."""
    return bool(kind == pa.uuid())


def is_list(kind: pa.DataType) -> bool:
    """Return True for lists of any length."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


_STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary)
_ACCEPTED = {
    Kind.ID: (*_STRINGS, *_BYTES, pa.types.is_integer, is_uuid),
    Kind.TEXT: (*_STRINGS, *_BYTES),
    Kind.NUMBER: (pa.types.is_integer, pa.types.is_floating),
    Kind.VECTORS: (holds_vectors,),
}


def describe(schema: pa.Schema) -> str:
    """Return the columns with their types, for messages."""
    return ", ".join(f"{field.name}: {field.type}" for field in schema) or "no columns"
