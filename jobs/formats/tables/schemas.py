"""One schema for files whose schemas evolved, and their values in it."""

from collections.abc import Iterable, Mapping
from posixpath import basename

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.columns import check_distinct, is_uuid
from rerank.errors import InputError


def unify(uri: str, schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """Return one schema for all files, path → schema, as PyArrow's permissive promotion makes it.

    Columns are in the order in which they appear first. Dictionaries are decoded, and all columns may be null. Raises
    InputError that names both files and both types.
    """
    kinds: dict[str, pa.DataType] = {}
    origins: dict[str, tuple[str, pa.DataType]] = {}  # the last file that set its type in `kinds`
    previous: pa.Schema | None = None
    for path, schema in schemas.items():
        if previous is not None and schema.equals(previous):
            continue
        previous = schema
        check_distinct(uri, schema.names)
        for field in schema:
            name, kind = field.name, plain_type(field.type)
            unified = _merged(uri, name, kinds.get(name, kind), origins.get(name), (path, kind))
            if unified == kind or name not in origins:
                origins[name] = (path, kind)
            kinds[name] = unified
    return pa.schema(list(kinds.items()))


def _merged(
    uri: str, name: str, unified: pa.DataType, origin: tuple[str, pa.DataType] | None, other: tuple[str, pa.DataType]
) -> pa.DataType:
    if unified == other[1]:
        return unified
    try:
        return merged(unified, other[1])
    except pa.ArrowException:
        (first_file, first_kind), (file, kind) = origin or other, other
        first_name, file_name = _names(first_file, file)
        raise InputError(
            f"{uri}: column {name!r} is {first_kind} in {first_name} and {kind} in {file_name}, expected types that "
            "fit together"
        ) from None


def merged(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that PyArrow's permissive promotion gives two types. Raises pa.ArrowException if none does."""
    schemas = [pa.schema([("", kind)]) for kind in (one, other)]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with the same values that merges with others: no dictionaries, no views, nothing non-nullable."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    return kind


def conform(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return values as a type that `unify` gave; struct fields are found by name, and are null where they are missing.

    Bytes become strings as they are, without a check that they are UTF-8. Raises pa.ArrowInvalid for a value that the
    type cannot hold.
    """
    if values.type == kind:
        return values
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), kind)
    if pa.types.is_struct(kind):
        present = {field.name for field in values.type}
        fields = [
            conform(values.field(field.name), field.type)
            if field.name in present
            else pa.nulls(len(values), field.type)
            for field in kind
        ]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=_nulls(values))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(values), 0).cast(pa.int64())
        ends = pc.cumulative_sum(lengths)
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
        is_large = pa.types.is_large_list(kind)
        build = pa.LargeListArray if is_large else pa.ListArray
        offsets = offsets if is_large else offsets.cast(pa.int32())
        return build.from_arrays(offsets, conform(values.flatten(), kind.value_type), type=kind, mask=_nulls(values))
    if is_uuid(values.type) and pa.types.is_large_string(kind):
        return _uuid_texts(values.storage)
    return values.cast(options=pc.CastOptions(target_type=kind, allow_invalid_utf8=True))


def _uuid_texts(values: pa.Array) -> pa.Array:
    """Return 16 bytes each as the canonical text of a UUID."""
    octets = np.frombuffer(b"".join(value or bytes(16) for value in values.to_pylist()), np.uint8).reshape(-1, 16)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    texts = np.full((len(values), 36), ord("-"), dtype=np.uint8)
    texts[:, [at for at in range(36) if at not in (8, 13, 18, 23)]] = np.stack(
        [digits[octets >> 4], digits[octets & 15]], axis=2
    ).reshape(-1, 32)
    offsets = np.arange(0, 36 * (len(values) + 1), 36, dtype=np.int64)
    whole = pa.LargeStringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(texts.tobytes()))
    return pc.if_else(values.is_valid(), whole, None)


def _nulls(values: pa.Array) -> pa.Array | None:
    return values.is_null() if values.null_count else None


def _names(one: str, other: str) -> Iterable[str]:
    """Return the names of two files, or their whole paths if the names are equal."""
    names = basename(one), basename(other)
    return names if names[0] != names[1] else (one, other)
