"""A cascade gives what its stages give by hand, one run after the other, row for row."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pytest

from rerank import Reranker
from rerank.cascade.handover import STAGE_USAGE, Handover
from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs, PairEncoder
from rerank.engines import Scores, load_encoder
from rerank.prepare import prepare
from rerank.reranker import REJECTED, USAGE
from tests.fakes import candidate_sets
from tests.jobs.tables import WORDS

Row = dict[str, Any]
UNSCORED = {"stage": None, "stage_logits": None}
GOING_ON = pa.list_(
    pa.struct(
        [
            ("doc_id", pa.string()),
            ("text", pa.string()),
            ("note", pa.string()),
            ("source_score", pa.float64()),
            ("before", pa.list_(pa.float32())),
        ]
    )
)


class SaltedEngine:
    """A logit that depends on the tokens and on the salt: few values, so that many are equal, and now and then NaN."""

    lanes = None

    def __init__(self, salt: int) -> None:
        self.description = {"engine": "salted"}
        self._salt = salt

    def score(self, pairs: EncodedPairs) -> Scores:
        ids, _, offsets = pairs.join(np.arange(len(pairs)))
        values = [crc32(row.astype(np.int32).tobytes(), self._salt) for row in np.split(ids, offsets[1:-1])]
        logits = [float("nan") if value % 11 == 0 else value % 7 - 3.0 for value in values]
        return Scores(np.array(logits, dtype=np.float32), len(ids))


@pytest.fixture(scope="module")
def encoder() -> PairEncoder:
    return load_encoder(ScorerConfig())


def many_sets(seed: int) -> pa.Table:
    """Queries with 0 to 12 candidates: some of them null or blank, some queries without id or text, all with scores."""
    random = np.random.default_rng(seed)
    rows: list[Any] = []
    for number in range(30):
        texts = [" ".join(random.choice(WORDS, size=random.integers(1, 6))) for _ in range(random.integers(0, 13))]
        documents: list[Any] = [(f"d{place}", text) for place, text in enumerate(texts)]
        if documents and random.random() < 0.3:
            documents[random.integers(len(documents))] = ("n", random.choice([None, " "]))
        rows.append((f"q{number}" if number % 9 else None, None if number % 7 == 3 else f"query {number}", documents))
    table = candidate_sets(rows)
    lists = [
        [{**row, "score": place / 2, "note": f"{place}", "stage": 99} for place, row in enumerate(entry)]
        for entry in table["candidates"].to_pylist()
    ]
    return table.set_column(2, "candidates", pa.array(lists)).append_column("_settled", pa.array([None] * len(rows)))


def cascade(
    table: pa.Table, keeps: Sequence[int], encoder: PairEncoder, *, depth: int | None = None, **options: Any
) -> pa.Table:
    """Rank a table as the job does: each stage prepares, ranks and hands over. The salt of a stage is its number."""
    for stage, keep in enumerate([*keeps, None], start=1):
        reranker = Reranker(engine=SaltedEngine(stage), encoder=encoder)
        keep_text = options.get("keep_text", False) or keep is not None
        prepared = prepare(table, encoder, keep_text=keep_text, depth=depth if stage == 1 else None)
        table = Handover(stage, keep, **options)(reranker.rank_table(prepared))
    return table


def by_hand(
    table: pa.Table, keeps: Sequence[int], encoder: PairEncoder, *, depth: int | None = None
) -> tuple[list[list[Row]], list[list[Row]]]:
    """Return the ranked and the rejected candidates of each query, from one run per stage."""
    queries, first = table.drop_columns(["candidates"]), table["candidates"].to_pylist()
    places = [{row["doc_id"]: place for place, row in enumerate(rows, start=1)} for rows in first]
    ranked: list[list[Row]] = [[] for _ in first]
    refused: list[list[Row]] = [[] for _ in first]
    for stage, keep in enumerate([*keeps, 0], start=1):
        prepared = prepare(table, encoder, keep_text=True, depth=depth if stage == 1 else None)
        run = Reranker(engine=SaltedEngine(stage), encoder=encoder).rank_table(prepared)
        going_on: list[list[Row]] = []
        for number, query in enumerate(run.select(["candidates", REJECTED]).to_pylist()):
            rows, errors = query["candidates"], query[REJECTED]
            for row in rows:
                before = row.pop("before", None) or []
                is_scored = row["logit"] is not None
                row |= {"stage": stage, "stage_logits": [*before, row["logit"]]} if is_scored else dict(UNSCORED)
            kept = [row for row in rows[:keep] if row["stage"]]
            ranked[number] = rows[len(kept) :] + ranked[number]
            refused[number] += [row for row in errors if stage == 1 or row["doc_id"] is not None]
            names = ("doc_id", "text", "note", "source_score")
            going_on.append([{name: row[name] for name in names} | {"before": row["stage_logits"]} for row in kept])
        table = queries.append_column("candidates", pa.array(going_on, GOING_ON))
    for number, rows in enumerate(ranked):
        for rank, row in enumerate(rows, start=1):
            row |= {"rank": rank, "source_rank": places[number][row["doc_id"]]}
        for row in refused[number]:
            row["source_rank"] = row["source_rank"] and places[number][row["doc_id"]]
    return ranked, refused


@pytest.mark.parametrize("depth", [None, 5])
@pytest.mark.parametrize("keeps", [(5,), (1,), (100,), (8, 3), (6, 6)])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_cascade_is_its_stages_by_hand(
    encoder: PairEncoder, seed: int, keeps: tuple[int, ...], depth: int | None
) -> None:
    table = many_sets(seed)
    ranked = cascade(table, keeps, encoder, depth=depth, keep_text=True, stage_logits=True)
    expected, refused = by_hand(table, keeps, encoder, depth=depth)
    rows = ranked["candidates"].to_pylist()
    assert rows == expected
    assert ranked[REJECTED].to_pylist() == refused
    assert [name for name in ranked.column_names if name.startswith("_")] == [STAGE_USAGE]
    names = [field.name for field in ranked.schema.field("candidates").type.value_type]
    assert names[:7] == ["doc_id", "rank", "score", "logit", "source_rank", "stage", "stage_logits"]
    for row in ranked.select([USAGE, STAGE_USAGE, "candidates"]).to_pylist():
        usage, stages = row[USAGE], row[STAGE_USAGE]
        assert len(stages) == len(keeps) + 1
        assert usage["pairs_ranked"] == len(row["candidates"])
        for name in ("tokens", "pairs_scored", "store_hits"):
            assert usage[name] == sum(stage[name] for stage in stages)


def test_every_candidate_comes_out_once_and_without_texts(encoder: PairEncoder) -> None:
    table = many_sets(3)
    ranked = cascade(table, [4], encoder)
    assert "query" not in ranked.column_names
    for before, rows, errors in zip(
        table["candidates"].to_pylist(), ranked["candidates"].to_pylist(), ranked[REJECTED].to_pylist(), strict=True
    ):
        assert not rows or {"text", "stage_logits"}.isdisjoint(rows[0])
        places = [row["source_rank"] for row in [*rows, *errors] if row["source_rank"] is not None]
        assert sorted(places) == list(range(1, len(before) + 1))
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["stage"] for row in rows] == sorted((row["stage"] for row in rows), reverse=True)


def test_limits_hold_for_the_whole_ranking(encoder: PairEncoder) -> None:
    table = many_sets(4)
    whole = cascade(table, [4], encoder)["candidates"].to_pylist()
    best = cascade(table, [4], encoder, top_k=6)["candidates"].to_pylist()
    assert best == [rows[:6] for rows in whole]
    good = cascade(table, [4], encoder, min_score=0.5)["candidates"].to_pylist()
    assert good == [[row for row in rows if row["stage"] == 2 and row["score"] >= 0.5] for rows in whole]
    assert any(row["stage"] == 1 and row["score"] >= 0.5 for rows in whole for row in rows)


def test_only_what_is_kept_travels_with_its_text(encoder: PairEncoder) -> None:
    prepared = prepare(many_sets(5), encoder, keep_text=True)
    ranked = Reranker(engine=SaltedEngine(0), encoder=encoder).rank_table(prepared)
    handed = Handover(1, 2)(ranked)
    assert all(len(rows) <= 2 for rows in handed["candidates"].to_pylist())
    assert all("text" not in row for rows in handed["_settled"].to_pylist() for row in rows)
