"""Text files, wherever pyarrow reads and writes; .gz and .bz2 are unpacked while reading."""

from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import PurePosixPath

from rerank.errors import InputError, OutputError
from rerank.paths import Location

PACKED = (".gz", ".bz2", ".zst")


def read_lines(location: Location, *, errors: str = "strict") -> Iterator[tuple[int, str]]:
    """Yield line numbers (from 1) and lines, without blank lines. `errors` is that of `open`. Raises InputError."""
    try:
        with (
            location.filesystem.open_input_stream(location.path) as stream,
            TextIOWrapper(stream, encoding="utf-8-sig", errors=errors) as lines,
        ):
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as problem:
        raise InputError(f"{location.uri}: not UTF-8 text: {problem}") from problem
    except OSError as problem:
        raise InputError(f"{location.uri}: cannot be read: {problem}") from problem


def write_text(location: Location, content: str) -> None:
    """Write a UTF-8 text file. Raises OutputError."""
    try:
        with location.filesystem.open_output_stream(location.path) as stream:
            stream.write(content.encode())
    except OSError as problem:
        raise OutputError(f"{location.uri}: cannot be written: {problem}") from problem


def suffix_of(uri: str) -> str:
    """Return the suffix that names a file's format, in lower case: `.trec` for run.trec.gz."""
    path = PurePosixPath(uri.rstrip("/").lower())
    return path.with_suffix("").suffix if path.suffix in PACKED else path.suffix
