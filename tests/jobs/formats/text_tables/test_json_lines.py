"""JSON lines as Arrow tables: types, blocks of lines, and errors that name the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.formats.text_tables import json_lines
from jobs.formats.text_tables.json_lines import read_json_lines
from rerank.errors import InputError
from rerank.paths import locate


def tables(folder: Path, content: bytes | str) -> Iterator[pa.Table]:
    (folder / "in.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_json_lines(locate(str(folder / "in.jsonl")))


def rows(folder: Path, content: bytes | str) -> list[dict[str, Any]]:
    return [row for table in tables(folder, content) for row in table.to_pylist()]


@pytest.mark.parametrize(
    "value",
    ["007", "1e5", "2020-01-01", "2020-01-01T00:00:00Z", "true", "null", "", "ü\u2028\n", 7, 2.5, None, [1], [[]]],
)
def test_values_are_as_they_are_written(tmp_path: Path, value: Any) -> None:
    row = {"id": value, "candidates": [{"text": value}, {"text": value}]}
    assert rows(tmp_path, json.dumps(row, ensure_ascii=False)) == [row]


def test_objects_that_hold_nothing_are_left_out_as_parquet_has_none(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "metadata": {}, "candidates": [{"a": 1, "m": {"n": {}}}, {"a": 2, "m": None}], "empty": [{}]},
        {"id": 2, "metadata": None, "candidates": None, "empty": []},
        {"id": 3, "candidates": []},
        {"id": 4, "candidates": [None, {"a": 3}]},
    ]
    read = rows(tmp_path, "\n".join(map(json.dumps, lines)))
    lists = [[{"a": 1}, {"a": 2}], None, [], [None, {"a": 3}]]
    assert read == [{"id": at, "candidates": values} for at, values in enumerate(lists, start=1)]


def test_nulls_of_a_list_are_kept(tmp_path: Path) -> None:
    line = {"candidates": [None, {"a": [None, 1]}], "c": [[None, {"b": 1}]]}
    assert rows(tmp_path, json.dumps(line)) == [line]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path, b'\xef\xbb\xbf\n{"a": 1}\r\n\r\n  \n{"a": 2}') == [{"a": 1}, {"a": 2}]
    assert rows(tmp_path, "\n \n") == rows(tmp_path, "") == []


@pytest.mark.parametrize("block", [1, 7, 64, 10_000])
def test_every_line_is_read_once_whatever_the_size_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(json_lines, "_BYTES_PER_BLOCK", block)
    lines = [{"id": f"{number:03d}", "text": "word " * (number % 40)} for number in range(100)]
    assert rows(tmp_path, "\n".join(map(json.dumps, lines))) == lines


BAD = {
    "no object": ('{"a": 1}\n"text"\n', "line 2", "Column() changed from object to string"),
    "an array of objects": ('[{"a": 1}, {"a": 2}]', "line 1", "one object a line"),
    "a comma missing": ('{"a": 1}\n\n{"a": 2 "b": 3}\n{"a": 3}', "line 3", """found '{"a": 2 "b": 3}'"""),
    "cut off": ('{"a": 1}\n{"a": "x', "line 2", "Missing a closing quotation mark"),
    "another type": ('{"a": 1}\n{"a": 2}\n{"a": "x"}\n', "line 3", "Column(/a) changed from number to string"),
    "a key twice": ('{"a": 1}\n{"a": 1, "a": 2}', "line 2", "specified twice"),
    "no UTF-8": (b'{"a": 1}\n{"a": "\xff"}\n', "line 2", "not UTF-8 text"),
}


@pytest.mark.parametrize("block", [4, 10_000])
@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, block: int) -> None:
    content, line, reason = BAD[name]
    if name == "another type" and block == 4:
        return  # the lines of another block
    monkeypatch.setattr(json_lines, "_BYTES_PER_BLOCK", block)
    with pytest.raises(InputError) as caught:
        list(tables(tmp_path, content))
    assert f"in.jsonl: {line}: " in str(caught.value) and reason in str(caught.value)
    assert " in row " not in str(caught.value)
