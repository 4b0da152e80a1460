"""Hive partitions: folders called `name=value`, whose names are columns of the files below them."""

from collections.abc import Iterable
from posixpath import relpath
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import IntArray

NULL = "__HIVE_DEFAULT_PARTITION__"

Keys = tuple[tuple[str, str | None], ...]
"""Names and values of a file's partition, the outermost folder first; None is null."""


def keys_of(root: str, path: str) -> Keys:
    """Return the keys of a file's partition: those of the folders between `root` and the file, percent-decoded."""
    if path == root:
        return ()
    segments = (folder.partition("=") for folder in relpath(path, root).split("/")[:-1])
    keys = {
        unquote(name): None if value == NULL else unquote(value) for name, equals, value in segments if equals and name
    }
    return tuple(keys.items())


def folder_of(keys: Keys) -> str:
    """Return the folder of a partition relative to the table's root; the inverse of `keys_of`."""
    values = ((name, NULL if value is None else quote(value, safe="")) for name, value in keys)
    return "/".join(f"{quote(name, safe='')}={value}" for name, value in values)


def describe_keys(keys: Keys) -> str:
    """Return the keys as people write them, for messages."""
    return ", ".join(f"{name}={NULL if value is None else value}" for name, value in keys) or "no partition"


def type_of_values(values: Iterable[str | None]) -> pa.DataType:
    """Return the type that PyArrow infers for the values of a key: int32 if all of them are such numbers, else string.

    PyArrow refuses a key that is null everywhere; here it is a string.
    """
    known = [value for value in dict.fromkeys(values) if value is not None]
    try:
        pa.array(known, pa.string()).cast(pa.int32())
    except pa.ArrowInvalid:
        return pa.string()
    return pa.int32() if known else pa.string()


def value_as(value: str | None, kind: pa.DataType) -> pa.Scalar:
    """Return the value of a key as a scalar of this type. Raises pa.ArrowException if it is none."""
    return pa.scalar(value, pa.string()).cast(kind)


def is_key_type(kind: pa.DataType) -> bool:
    """Return True if values of this type can be keys of partitions: they have one short text each."""
    if pa.types.is_dictionary(kind):
        return is_key_type(kind.value_type)
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_integer,
        pa.types.is_boolean,
        pa.types.is_date,
        pa.types.is_timestamp,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)


def group_by_keys(columns: dict[str, pa.Array]) -> tuple[IntArray, list[Keys]]:
    """Return the number of each row's partition, and the keys of all partitions."""
    texts = [values.cast(pa.large_string()) for values in columns.values()]
    codes = np.stack([pc.dictionary_encode(values, null_encoding="encode").indices.to_numpy() for values in texts], 1)
    _, first, numbers = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    keys = [tuple(zip(columns, (values[int(row)].as_py() for values in texts), strict=True)) for row in first]
    return numbers.reshape(-1).astype(np.int32), keys
