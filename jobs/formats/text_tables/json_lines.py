"""Read JSON lines with PyArrow: one object a line, blocks of whole lines, so that an error has its line number."""

import codecs
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from rerank.arrays import offsets_of
from rerank.errors import InputError
from rerank.paths import Location

_BYTES_PER_BLOCK = 8 << 20
_THREADS = 4  # blocks that are parsed at the same time
_SHOWN = 80
_ROW = re.compile(r" in row \d+$")  # of the block, which nobody knows


def read_json_lines(file: Location) -> Iterator[pa.Table]:
    """Yield the objects as tables, each with the columns and types of its own lines. Raises InputError.

    Strings stay strings, also those that look like dates.
    """
    waiting: deque[Future[pa.Table | None]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for first, lines in _blocks(file):
            waiting.append(pool.submit(_read_block, file, first, lines))
            if len(waiting) > _THREADS:
                yield from _tables(waiting.popleft())
        while waiting:
            yield from _tables(waiting.popleft())


def _tables(block: Future[pa.Table | None]) -> Iterator[pa.Table]:
    table = block.result()
    if table is not None:
        yield table


def _blocks(file: Location) -> Iterator[tuple[int, bytes]]:
    """Yield blocks of whole lines with the number of their first line, from 1."""
    number, begun = 1, [b""]  # the pieces of a line that has not ended
    try:
        with file.filesystem.open_input_stream(file.path) as stream:
            while piece := stream.read(_BYTES_PER_BLOCK):
                if number == 1 and begun == [b""]:
                    piece = piece.removeprefix(codecs.BOM_UTF8)
                whole, newline, rest = piece.rpartition(b"\n")
                if newline:
                    lines = b"".join((*begun, whole, newline))
                    yield number, lines
                    number += lines.count(b"\n")
                    begun = []
                begun.append(rest)
    except OSError as problem:
        raise InputError(f"{file.uri}: cannot be read: {problem}") from problem
    yield number, b"".join(begun)


def _read_block(file: Location, first: int, lines: bytes) -> pa.Table | None:
    try:
        lines.decode()
    except UnicodeDecodeError as problem:
        number = first + lines.count(b"\n", 0, problem.start)
        raise InputError(f"{file.uri}: line {number}: not UTF-8 text: {problem.reason}") from None
    try:
        return _parse(lines)
    except pa.ArrowException:
        at, line, reason = _first_bad_line(lines.split(b"\n"))
        raise InputError(
            f"{file.uri}: line {first + at}: cannot be read as JSON lines, one object a line: {_ROW.sub('', reason)}; "
            f"found {line[:_SHOWN].decode(errors='replace')!r}"
        ) from None


def _parse(lines: bytes) -> pa.Table | None:
    """Return the table of these lines, None if all are blank. Raises pa.ArrowException."""
    if not lines or lines.isspace():
        return None
    options = pj.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    table = pj.read_json(pa.BufferReader(lines), options)
    schema = pa.schema([field.with_type(_as_written(field.type)) for field in table.schema])
    if schema != table.schema or not _is_valid(table):
        table = pj.read_json(pa.BufferReader(lines), options, pj.ParseOptions(explicit_schema=schema))
        table.validate()
    kept = [(name, _without_empty(values.combine_chunks())) for name, values in zip(schema.names, table, strict=True)]
    return pa.table({name: values for name, values in kept if values is not None})


def _is_valid(table: pa.Table) -> bool:
    """Return False for a table that PyArrow got wrong: it loses nulls in lists of yet unknown types (26)."""
    try:
        table.validate()
    except pa.ArrowInvalid:
        return False
    return True


def _as_written(kind: pa.DataType) -> pa.DataType:
    """Return the type with strings for timestamps, which PyArrow finds in strings that look like dates."""
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(at).with_type(_as_written(kind.field(at).type)) for at in range(kind.num_fields)])
    if pa.types.is_list(kind):
        return pa.list_(_as_written(kind.value_type))
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _without_empty(values: pa.Array) -> pa.Array | None:
    """Return the values without objects that never hold anything, such as BEIR's metadata: Parquet has none."""
    if pa.types.is_struct(values.type):
        inner = {field.name: _without_empty(part) for field, part in zip(values.type, values.flatten(), strict=True)}
        kept = {name: part for name, part in inner.items() if part is not None}
        return pa.StructArray.from_arrays(list(kept.values()), list(kept), mask=values.is_null()) if kept else None
    if pa.types.is_list(values.type) and pa.types.is_nested(values.type.value_type):
        items = _without_empty(values.flatten())
        return None if items is None else pa.ListArray.from_arrays(_offsets(values), items, mask=values.is_null())
    return values


def _offsets(values: pa.ListArray) -> pa.Array:
    """Return where each list begins in `values.flatten()`, which leaves out what null lists have."""
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    return pa.array(offsets_of(lengths.to_numpy()), pa.int32())


def _first_bad_line(lines: list[bytes]) -> tuple[int, bytes, str]:
    """Return the position of the first line that cannot be read after those before it, the line, and the reason."""
    low, high, reason = 0, len(lines), ""  # the first `low` lines can be read, the first `high` cannot
    while high - low > 1 or not reason:
        middle = (low + high + 1) // 2
        try:
            _parse(b"\n".join(lines[:middle]))
            low = middle
        except pa.ArrowException as error:
            high, reason = middle, str(error)
    return high - 1, lines[high - 1], reason
