"""Read CSV and TSV with PyArrow, as strings exactly as they are written.

CSV has quotes, as RFC 4180 says. TSV has none: a quote is a character like any other, as MS MARCO writes it.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice

import pyarrow as pa
import pyarrow.csv as pc

from jobs.formats.text import read_lines
from rerank.errors import InputError
from rerank.paths import Location

UNNAMED = "unnamed"  # a column without a name, such as the index that pandas writes

_BYTES_PER_BLOCK = 8 << 20
_SHOWN = 80


def read_delimited(
    file: Location, *, is_csv: bool, names: Sequence[str] | None = None, numbers: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Yield the rows as tables of strings; the columns `numbers` are float64. Raises InputError that names the line.

    `names` None: the first line has them. An empty field is null, unless it is quoted.
    """
    head = list(islice(read_lines(file, errors="replace"), 2))
    skipped = 0
    if names is None:
        if not head:
            return
        skipped, header = head.pop(0)
        names = [name or UNNAMED for name in next(_rows([header], is_csv=is_csv))]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"{file.uri}: line {skipped}: two columns are called {twice!r}")
    if not head:
        return
    try:
        with file.filesystem.open_input_stream(file.path) as stream:
            for batch in _open(stream, is_csv=is_csv, names=names, skipped=skipped):
                yield _with_numbers(pa.Table.from_batches([batch]), numbers)
    except (pa.ArrowException, OSError) as problem:
        is_number = [name in numbers for name in names]
        line = _first_bad_line(file, is_csv=is_csv, is_number=is_number, skipped=skipped)
        raise InputError(f"{file.uri}: {line or f'cannot be read: {problem}'}") from problem


def _open(stream: pa.NativeFile, *, is_csv: bool, names: Sequence[str], skipped: int) -> pc.CSVStreamingReader:
    return pc.open_csv(
        stream,
        pc.ReadOptions(block_size=_BYTES_PER_BLOCK, column_names=names, skip_rows=skipped),
        pc.ParseOptions(
            delimiter="," if is_csv else "\t", quote_char='"' if is_csv else False, newlines_in_values=is_csv
        ),
        pc.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _with_numbers(table: pa.Table, numbers: Sequence[str]) -> pa.Table:
    fields = [field.with_type(pa.float64()) if field.name in numbers else field for field in table.schema]
    return table.cast(pa.schema(fields))


def _rows(lines: Sequence[str] | TextIOWrapper, *, is_csv: bool) -> Iterator[list[str]]:
    """Return the rows of these lines by Python's reader; unlike PyArrow's it counts the lines."""
    if is_csv:
        return csv.reader(lines)
    return csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


def _first_bad_line(file: Location, *, is_csv: bool, is_number: list[bool], skipped: int) -> str | None:
    """Return what is wrong with the first line that cannot be read; None if no line is at fault."""
    with (
        file.filesystem.open_input_stream(file.path) as stream,
        TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as lines,
        _fields_of_any_size(),
    ):
        rows = _rows(lines, is_csv=is_csv)
        number = 1
        try:
            for row in rows:
                problem = _problem_of(row, is_number) if row and number > skipped else None
                if problem:
                    return f"line {number}: {problem}"
                number = rows.line_num + 1  # type: ignore[attr-defined]
        except csv.Error as problem:
            return f"line {number}: {problem}"
    return None


def _problem_of(row: list[str], is_number: list[bool]) -> str | None:
    if len(row) != len(is_number):
        return f"expected {len(is_number)} columns, found {len(row)}: {','.join(row)[:_SHOWN]!r}"
    for value, must_be_number in zip(row, is_number, strict=True):
        if any("\udc80" <= character <= "\udcff" for character in value):
            return "not UTF-8 text"
        try:
            float(value if must_be_number and value else 0)
        except ValueError:
            return f"score must be a number, got {value[:_SHOWN]!r}"
    return None


@contextmanager
def _fields_of_any_size() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
