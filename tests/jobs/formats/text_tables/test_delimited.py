"""CSV and TSV as Arrow tables: strings exactly as they are written, and errors that name the line."""

from pathlib import Path
from typing import Any

import pytest

from jobs.formats.text_tables import delimited
from jobs.formats.text_tables.delimited import read_delimited
from rerank.errors import InputError
from rerank.paths import locate


def rows(folder: Path, content: bytes | str, **options: Any) -> list[dict[str, Any]]:
    (folder / "in").write_bytes(content if isinstance(content, bytes) else content.encode())
    tables = read_delimited(locate(str(folder / "in")), **{"is_csv": True, **options})
    return [row for table in tables for row in table.to_pylist()]


CASES: dict[str, tuple[bytes | str, dict[str, Any], list[list[Any]]]] = {
    "leading zeros, dates, numbers": ("a,b\n007,2020-01-01\n1e5,NaN\n", {}, [["007", "2020-01-01"], ["1e5", "NaN"]]),
    "quotes and line breaks": ('a,b\n"x\ny","say ""hi"", twice"\n', {}, [["x\ny", 'say "hi", twice']]),
    "Windows": (b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n', {}, [["1", "x\r\ny"]]),
    "empty is null, quoted empty is not": ('a,b\n,""\nNULL,NA\n', {}, [[None, ""], ["NULL", "NA"]]),
    "numbers that are asked for": (
        "a,b\nx,1\ny,-2.5e1\nz,\n",
        {"numbers": ["b"]},
        [["x", 1.0], ["y", -25.0], ["z", None]],
    ),
    "no header": ("007,x\n", {"names": ["a", "b"]}, [["007", "x"]]),
    "TSV has no quotes": ('a\tb\n"x\t5" disk, ""\n', {"is_csv": False}, [['"x', '5" disk, ""']]),
    "TSV without a header": ("7\tx y\n", {"is_csv": False, "names": ["a", "b"]}, [["7", "x y"]]),
    "blank lines": ("\n\na,b\n\n1,2\n\n", {}, [["1", "2"]]),
    "a header alone": ("a,b\n", {}, []),
    "nothing": ("", {}, []),
    "nothing, without a header": ("\n", {"names": ["a", "b"]}, []),
}


@pytest.mark.parametrize("block", [16, 1 << 20])
@pytest.mark.parametrize("name", CASES)
def test_values_are_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, block: int) -> None:
    monkeypatch.setattr(delimited, "_BYTES_PER_BLOCK", block)
    content, options, values = CASES[name]
    assert [list(row.values()) for row in rows(tmp_path, content, **options)] == values


def test_the_index_of_pandas_gets_a_name(tmp_path: Path) -> None:
    assert rows(tmp_path, ",doc_id\n0,a\n") == [{"unnamed": "0", "doc_id": "a"}]


BAD: dict[str, tuple[bytes | str, dict[str, Any], str]] = {
    "too many columns": ('a,b\n"x\ny",2\n\n1,2,3\n', {}, "line 5: expected 2 columns, found 3: '1,2,3'"),
    "too few columns": ("a\tb\n1\t2\n3\n", {"is_csv": False}, "line 3: expected 2 columns, found 1: '3'"),
    "no header, too few columns": ("1,2\n3\n", {"names": ["a", "b"]}, "line 2: expected 2 columns, found 1: '3'"),
    "no UTF-8": (b"a,b\n1,2\n1,\xff\n", {}, "line 3: not UTF-8 text"),
    "a name twice": ("\na,b,a\n1,2,3\n", {}, "line 2: two columns are called 'a'"),
    "no number": ("a,score\n1,2\n1,high\n", {"numbers": ["score"]}, "line 3: score must be a number, got 'high'"),
    "after a very long field": (f"a,b\n{'x' * 200_000},1\n1\n", {}, "line 3: expected 2 columns, found 1: '1'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named(tmp_path: Path, name: str) -> None:
    content, options, sentence = BAD[name]
    with pytest.raises(InputError) as caught:
        rows(tmp_path, content, **options)
    assert str(caught.value) == f"{tmp_path}/in: {sentence}"


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        list(read_delimited(locate(str(tmp_path / "none.csv")), is_csv=True))
