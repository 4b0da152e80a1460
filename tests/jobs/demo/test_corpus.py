"""The corpus holds every documented public name once, under the name a person would look for."""

import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.demo.corpus import MAX_CHARACTERS, SCHEMA, write_corpus


@pytest.fixture(scope="module")
def texts(corpus: pa.Table) -> dict[str, str]:
    return dict(zip(corpus["doc_id"].to_pylist(), corpus["text"].to_pylist(), strict=True))


def test_there_are_thousands_of_documents_in_order(corpus: pa.Table) -> None:
    doc_ids = corpus["doc_id"].to_pylist()
    assert corpus.schema.equals(SCHEMA)
    assert corpus.num_rows > 4_000
    assert doc_ids == sorted(set(doc_ids))
    assert set(corpus["kind"].to_pylist()) == {"module", "class", "function", "method", "property"}


def test_texts_are_the_name_then_the_docstring_and_never_too_long(texts: dict[str, str]) -> None:
    assert all(text.startswith(doc_id) and "\n" in text for doc_id, text in texts.items())
    assert max(map(len, texts.values())) <= MAX_CHARACTERS
    assert texts["difflib.get_close_matches"].startswith(
        "difflib.get_close_matches(word, possibilities, n=3, cutoff=0.6)\nUse SequenceMatcher to return list"
    )
    assert texts["textwrap"] == "textwrap\nText wrapping and filling."


@pytest.mark.parametrize(
    ("best", "others"),
    [
        ("os.path.join", ["posixpath.join", "ntpath.join"]),
        ("open", ["io.open", "builtins.open"]),
        ("str.split", ["builtins.str.split"]),
        ("asyncio.gather", ["asyncio.tasks.gather"]),
        ("random.randint", ["random.Random.randint"]),
        ("tarfile.open", ["tarfile.TarFile.open"]),
        ("bisect.bisect_right", ["bisect.bisect"]),
        ("set.union", ["frozenset.union"]),
        ("hmac.compare_digest", ["secrets.compare_digest"]),
        ("pathlib.PurePath.stem", ["pathlib.Path.stem"]),
    ],
)
def test_an_object_has_one_document_under_its_best_name(texts: dict[str, str], best: str, others: list[str]) -> None:
    assert best in texts
    assert not texts.keys() & set(others)


def test_private_removed_and_windowed_modules_stay_out(texts: dict[str, str]) -> None:
    roots = {doc_id.partition(".")[0] for doc_id in texts}
    assert not roots & {"antigravity", "this", "test", "idlelib", "tkinter", "turtle", "telnetlib", "cgi", "imp"}
    assert not [doc_id for doc_id in texts if any(part.startswith("_") for part in doc_id.split("."))]


def test_nothing_tells_of_the_machine_it_was_built_on(texts: dict[str, str]) -> None:
    telling = [doc_id for doc_id, text in texts.items() if sys.prefix in text or re.search(r" at 0x[0-9a-f]{6}", text)]
    assert telling == []


def test_a_second_build_is_equal_byte_for_byte_and_imports_nothing_here(corpus_path: Path, tmp_path: Path) -> None:
    before = set(sys.modules)
    write_corpus(tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == corpus_path.read_bytes()
    assert set(sys.modules) == before
