"""The prepared table: what an engine needs of each block, and nothing that it does not."""

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from rerank.encoding.pairs import Encoder
from rerank.errors import InputError
from rerank.prepare import prepare
from rerank.ranking.candidates import CandidateSets
from rerank.tables.prepared import encoded_pairs, is_prepared
from tests.fakes import candidate_sets

TABLE = candidate_sets(
    [
        ("q1", "free returns", [("a", "parcel"), ("b", None), ("c", "warranty")]),
        ("q2", None, [("a", "parcel")]),
        ("q3", "shipping rates", [("c", "warranty"), ("d", "parcel"), ("e", "parcel " * 40)]),
        ("q4", "no candidates", None),
    ]
)


class Recording(Encoder):
    """Remembers every text that it tokenises."""

    def __init__(self, tokenizer: Tokenizer, *, max_length: int) -> None:
        super().__init__(tokenizer, max_length=max_length)
        self.texts: list[str] = []

    def tokenize(self, texts, *options):
        self.texts.extend(texts)
        return super().tokenize(texts, *options)


@pytest.fixture
def tokenizer(folder_of):
    return Tokenizer.from_file(str(folder_of("bert") / "tokenizer.json"))


@pytest.fixture
def encoder(tokenizer):
    return Recording(tokenizer, max_length=20)


def joined(prepared: pa.Table, encoder: Encoder) -> list[list[int]]:
    """The token ids of each pair that an engine would read."""
    pairs, rows = encoded_pairs(CandidateSets.from_table(prepared), encoder.template)
    assert len(pairs) == len(rows)
    ids, _, offsets = pairs.join(np.arange(len(pairs)))
    return [row.tolist() for row in np.split(ids, offsets[1:-1])] if len(pairs) else []


def test_pairs_come_back_as_the_tokeniser_joins_them(encoder, tokenizer):
    prepared = prepare(TABLE, encoder)
    tokenizer.enable_truncation(20, strategy="longest_first")
    texts = [(1, "parcel"), (1, "warranty"), (3, "warranty"), (3, "parcel"), (3, "parcel " * 40)]
    queries = {1: "free returns", 3: "shipping rates"}
    assert joined(prepared, encoder) == [tokenizer.encode(queries[row], text).ids for row, text in texts]


def test_each_distinct_text_is_tokenised_once_and_the_rejected_never(encoder):
    prepare(TABLE, encoder)
    documents = [text for text in encoder.texts if text and text not in TABLE["query"].to_pylist()]
    assert documents == ["parcel", "warranty", "parcel " * 40]
    assert "no candidates" not in encoder.texts


def test_rows_stay_and_texts_go(encoder):
    prepared = prepare(TABLE, encoder)
    assert is_prepared(prepared)
    assert not is_prepared(TABLE)
    assert prepared["query_id"].to_pylist() == ["q1", "q2", "q3", "q4"]
    assert "query" not in prepared.column_names
    entries = prepared["candidates"].to_pylist()
    assert [[entry["doc_id"] for entry in row] for row in entries] == [["a", "b", "c"], ["a"], ["c", "d", "e"], []]
    assert "text" not in entries[0][0]
    kept = prepare(TABLE, encoder, keep_text=True)
    assert kept["query"].to_pylist() == TABLE["query"].to_pylist()
    assert kept["candidates"].to_pylist()[0][0]["text"] == "parcel"


def test_carried_columns_and_fields_travel(encoder):
    entry = {"text": "parcel", "url": "u", "doc_id": 7}
    table = pa.table({"query_id": [1], "lang": ["de"], "query": ["returns"], "candidates": [[entry]]})
    prepared = prepare(table, encoder)
    assert prepared.column_names[:2] == ["query_id", "lang"]
    (candidate,) = prepared["candidates"].to_pylist()[0]
    assert (candidate["url"], candidate["doc_id"]) == ("u", 7)


def test_slices_prepared_apart_join_to_the_whole(encoder):
    whole = prepare(TABLE, encoder)
    parts = pa.concat_tables([prepare(TABLE.slice(row, 1), encoder) for row in range(len(TABLE))])
    assert parts.to_pylist() == whole.to_pylist()
    assert joined(parts, encoder) == joined(whole, encoder)
    assert joined(parts.slice(2), encoder) == joined(prepare(TABLE.slice(2), encoder), encoder)


def test_a_text_that_a_query_repeats_travels_once(tokenizer):
    encoder = Encoder(tokenizer, max_length=5_010)
    hits = [("d", "parcel " * 5_000)] + [
        (f"d{number}", ("parcel " * 5_000, "warranty")[number % 2]) for number in range(99)
    ]
    prepared = prepare(candidate_sets([("q", "free returns", hits), ("r", "rates", hits[:1])]), encoder)
    assert prepared.nbytes < 50_000  # two times 5,000 tokens of 4 bytes, where 51 were 1 MB
    pairs, _ = encoded_pairs(CandidateSets.from_table(prepared), encoder.template)
    assert pairs.document_lengths.tolist() == [5_000, *[5_000, 3] * 49, 5_000, 5_000]
    assert len(pairs.documents) == 3


def test_zero_rows_keep_the_schema(encoder):
    empty = prepare(TABLE.slice(0, 0), encoder)
    assert empty.schema == prepare(TABLE, encoder).schema
    assert joined(empty, encoder) == []


def test_columns_of_an_earlier_preparation_are_replaced(encoder):
    once = prepare(TABLE, encoder, keep_text=True)
    assert prepare(once, encoder, keep_text=True).to_pylist() == once.to_pylist()


def test_a_table_of_something_else_is_refused(encoder):
    with pytest.raises(InputError, match="column 'query' is missing"):
        prepare(TABLE.drop_columns(["query"]), encoder)
    with pytest.raises(InputError, match="column 'query' must hold strings, got int64"):
        prepare(TABLE.set_column(1, "query", pa.array([1, 2, 3, 4])), encoder)
