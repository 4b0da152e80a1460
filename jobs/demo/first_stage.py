"""The demo's first stage: questions from a file of this project, and their candidate sets by BM25."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerank.errors import ConfigError

QUESTIONS_SCHEMA = pa.schema([("query_id", pa.string()), ("query", pa.string())])
QRELS_SCHEMA = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("relevance", pa.int64())])
CANDIDATE = pa.struct([("doc_id", pa.string()), ("text", pa.string()), ("score", pa.float64())])
CANDIDATE_SETS_SCHEMA = pa.schema(
    [("query_id", pa.string()), ("query", pa.string()), ("candidates", pa.list_(CANDIDATE))]
)

CAMEL_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Question(TypedDict):
    """One line of `questions.jsonl`; grade 2 is the answer, 1 a document that also helps, all others are 0."""

    query_id: str
    query: str
    answers: dict[str, int]


def load_questions() -> pa.Table:
    """Return the demo's questions: `query_id`, `query`."""
    rows = [{"query_id": question["query_id"], "query": question["query"]} for question in _questions()]
    return pa.Table.from_pylist(rows, schema=QUESTIONS_SCHEMA)


def load_qrels() -> pa.Table:
    """Return the judged answers: `query_id`, `doc_id`, `relevance` (1 or 2)."""
    rows = [
        {"query_id": question["query_id"], "doc_id": doc_id, "relevance": relevance}
        for question in _questions()
        for doc_id, relevance in question["answers"].items()
    ]
    return pa.Table.from_pylist(rows, schema=QRELS_SCHEMA)


def retrieve(documents: pa.Table, questions: pa.Table, *, depth: int = 100) -> pa.Table:
    """Retrieve the `depth` best documents of each question by BM25, as candidate sets in the `queries` layout.

    `documents` has `doc_id` and `text`, `questions` has `query_id` and `query`. A document that shares no word with
    the question is no candidate, so a set may be shorter than `depth`. Equal scores keep corpus order. k1 = 0.9 and
    b = 0.4 are Anserini's defaults. Raises ConfigError for a depth below 1.
    """
    if depth < 1:
        raise ConfigError(f"depth must be at least 1, got {depth}")
    import bm25s  # imports SciPy, which no other command needs

    index = bm25s.BM25(k1=0.9, b=0.4)
    index.index(_words(documents["text"].to_pylist()), show_progress=False)
    retrieved: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    for words in _words(questions["query"].to_pylist()):
        document_scores = index.get_scores_from_ids(index.get_tokens_ids(words))
        best = np.argsort(-document_scores, kind="stable")[:depth]
        best = best[document_scores[best] > 0]
        retrieved.append(best)
        scores.append(document_scores[best])
    return _candidate_sets(documents, questions, retrieved, scores)


def _candidate_sets(
    documents: pa.Table, questions: pa.Table, retrieved: list[NDArray[np.int64]], scores: list[NDArray[np.float32]]
) -> pa.Table:
    """Build the table from one array of document rows and one array of scores per question."""
    chosen = documents.select(["doc_id", "text"]).take(np.concatenate(retrieved)).combine_chunks()
    chosen = chosen.append_column("score", pa.array(np.concatenate(scores).astype(np.float64)))
    ends = np.cumsum([len(rows) for rows in retrieved])
    candidates = pa.ListArray.from_arrays(np.r_[0, ends].astype(np.int32), chosen.to_struct_array().combine_chunks())
    return pa.table([questions["query_id"], questions["query"], candidates], schema=CANDIDATE_SETS_SCHEMA)


def _words(texts: list[str]) -> list[list[str]]:
    """Split texts into lower-case words; names such as `weakref.WeakSet` and `copy_file_range` are split too.

    The long stop list drops question words too. "How", "do" and "my" are rare in reference documentation, so with the
    short list they would weigh more than what the question is about.
    """
    spaced = [CAMEL_HUMP.sub(" ", text) for text in texts]
    import bm25s

    words: list[list[str]] = bm25s.tokenize(
        spaced, token_pattern=r"[^\W_]+", stopwords="english_plus", return_ids=False, show_progress=False
    )
    return words


def _questions() -> list[Question]:
    text = Path(__file__).with_name("questions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
