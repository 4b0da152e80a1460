"""Instructions stand where the model reads them: in the template's place, else in front of the query."""

import asyncio
import pickle

import numpy as np
import pyarrow as pa
import pytest
import torch
from sentence_transformers import CrossEncoder

from rerank.actor import RerankActor
from rerank.batching.merge import merge
from rerank.engines import load_encoder
from rerank.engines.inspect import inspect_model
from rerank.prepare import prepare
from rerank.ranking.candidates import CandidateSets
from rerank.ranking.instructions import InstructionPlace, with_instruction
from rerank.reranker import Reranker
from rerank.store import StoredScores, hash_pairs
from rerank.tables.prepared import pair_hashes_of
from rerank.types import RerankRequest
from tests.fakes import candidate_sets
from tests.language_models import LANGUAGE_MODELS
from tests.models import CORPUS
from tests.rerank.test_oracle import exact
from tests.text_models import make_late_interaction, make_vectors

INSTRUCTIONS = ["Find the answer.", "", " two\nlines {{ x }} ", "Was ist gefragt?"]
QUERIES = ["what is this?", CORPUS[1], "配送状況", "x"]
DOCUMENTS = [CORPUS[2], "It is a probe. " * 40, "y"]
PAIRS = [(query, document) for query in range(len(QUERIES)) for document in range(len(DOCUMENTS))]
QUERY_OF, DOCUMENT_OF = np.array(PAIRS, dtype=np.int32).T


def ids_of(pairs) -> list[list[int]]:
    return [pairs.join(np.array([row]))[0].tolist() for row in range(len(pairs))]


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_language_model_reads_them_as_in_its_library(made, name):
    encoder = pickle.loads(pickle.dumps(load_encoder(exact(made(name)))))
    pairs = encoder.encode(QUERIES, DOCUMENTS, QUERY_OF, DOCUMENT_OF, instructions=INSTRUCTIONS)
    library = CrossEncoder(str(made(name)), device="cpu")
    default = library.prompts.get(library.default_prompt_name)
    in_template = encoder.instruction_place is InstructionPlace.TEMPLATE
    expected = []
    for query, document in PAIRS:
        instruction, text = INSTRUCTIONS[query], QUERIES[query]
        prompt = (instruction or default) if in_template else default
        text = text if in_template else with_instruction(text, instruction)
        expected.append(library[0].preprocess([(text, DOCUMENTS[document])], prompt=prompt)["input_ids"][0].tolist())
    assert ids_of(pairs) == expected
    inspection = inspect_model(exact(made(name)))
    assert inspection.instruction_place == encoder.instruction_place
    shown = {"qwen2-plain": "Find what answers the query", "gemma2": "Find what answers the query"}
    assert inspection.instruction == (default or shown.get(name))


def test_where_the_instruction_goes(made, folder_of, tmp_path):
    make_late_interaction(folder_of("bert"), tmp_path / "tokens")
    places = {name: load_encoder(exact(made(name))).instruction_place for name in LANGUAGE_MODELS}
    assert {name for name, place in places.items() if place is InstructionPlace.QUERY} == {
        "llama-pair",
        "llama-dense",
    }
    for folder in (folder_of("bert"), tmp_path / "tokens"):
        assert load_encoder(exact(folder)).instruction_place is InstructionPlace.QUERY


def test_an_instruction_without_room_goes_in_front_of_the_query(made):
    encoder = load_encoder(exact(made("qwen3-prompt")))
    long = "find " * 100
    (row,) = ids_of(encoder.encode(["query"], ["y"], np.zeros(1, int), np.zeros(1, int), instructions=[long]))
    (same,) = ids_of(encoder.encode([f"{long}query"], ["y"], np.zeros(1, int), np.zeros(1, int)))
    assert row == same and len(row) <= encoder.max_length


@pytest.fixture(scope="module", params=["bert", "qwen3-prompt", "tokens", "vectors"])
def folder(request, made, folder_of, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "model"
    if request.param == "tokens":
        make_late_interaction(folder_of("bert"), path, prompts={"query": "[Q] ", "document": ""})
    elif request.param == "vectors":
        make_vectors(folder_of("bert"), path, prompts={"query": "query: ", "document": ""})
    else:
        return folder_of("bert") if request.param == "bert" else made(request.param)
    return path


def logits(ranked) -> list[float]:
    return [place.logit for place in sorted(ranked, key=lambda place: place.index)]


def test_all_ways_take_the_same_instruction(folder):
    reranker = Reranker(exact(folder))
    plain, instructed = (logits(reranker.rank(QUERIES[0], DOCUMENTS, instruction=text)) for text in (None, "Find it."))
    assert not np.allclose(plain, instructed, atol=1e-3)
    assert logits(reranker.rank(QUERIES[0], DOCUMENTS, instruction=" \n")) == plain
    of_settings = Reranker(exact(folder, instruction="Find it."))
    others = [
        logits(of_settings.rank(QUERIES[0], DOCUMENTS)),
        logits(of_settings.rank(QUERIES[0], DOCUMENTS, instruction="")),
        logits(reranker.rerank(RerankRequest(QUERIES[0], tuple(DOCUMENTS), instruction="Find it.")).ranked),
    ]
    if reranker.encoder.instruction_place is InstructionPlace.QUERY:
        others.append(logits(reranker.rank(f"Find it. {QUERIES[0]}", DOCUMENTS)))
    sets = candidate_sets([(at, QUERIES[0], list(enumerate(DOCUMENTS))) for at in range(4)])
    column = pa.array([b"Find it.", None, b" ", b"\xff"])
    ranked = reranker.rank_table(sets.append_column("instruction", column))
    assert "instruction" not in ranked.column_names
    rows = [{row["doc_id"]: row["logit"] for row in each} for each in ranked["candidates"].to_pylist()]
    others.append([rows[0][at] for at in range(len(DOCUMENTS))])
    for other in others:
        np.testing.assert_allclose(other, instructed, rtol=0, atol=1e-5)
    for row in rows[1:3]:
        np.testing.assert_allclose([row[at] for at in range(len(DOCUMENTS))], plain, rtol=0, atol=1e-5)
    assert {entry["reason"] for entry in ranked["rejected"].to_pylist()[3]} == {"instruction is not valid UTF-8"}
    by_settings = of_settings.rank_table(sets.append_column("instruction", pa.array([None, "", "Other.", None])))
    rows = [{row["doc_id"]: row["logit"] for row in each} for each in by_settings["candidates"].to_pylist()]
    np.testing.assert_allclose([rows[0][at] for at in range(len(DOCUMENTS))], instructed, rtol=0, atol=1e-5)
    assert rows[0] == rows[1] == rows[3] != rows[2]


@pytest.mark.parametrize("name", ["qwen3-prompt", "bert"])
def test_scores_equal_the_library_s(made, folder_of, name):
    path = folder_of("bert") if name == "bert" else made(name)
    library = CrossEncoder(str(path), device="cpu")
    prompt = "Find it. " if name == "bert" else "Find it."
    pairs = [(QUERIES[0], document) for document in DOCUMENTS[::2]]
    expected = library.predict(pairs, prompt=prompt, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    ranked = Reranker(exact(path)).rank(QUERIES[0], DOCUMENTS[::2], instruction=prompt)
    np.testing.assert_allclose(logits(ranked), expected, rtol=0, atol=1e-4)


def test_a_batch_mixes_instructions(folder):
    reranker = Reranker(exact(folder))
    requests = [
        RerankRequest(query, tuple(DOCUMENTS), instruction=instruction)
        for query, instruction in [(QUERIES[0], "Find it."), (QUERIES[0], None), (QUERIES[1], "Find it."), ("x", "Y?")]
    ]

    async def answers() -> list[list[float]]:
        results = await asyncio.gather(*map(actor.rerank, requests))
        return [logits(result.ranked) for result in results]

    actor = RerankActor(exact(folder), engine=reranker.engine, encoder=reranker.encoder)
    encoded = [reranker.encode(request) for request in requests]
    merged = merge([(pairs, np.arange(len(pairs))) for pairs in encoded])
    assert ids_of(merged) == [ids for pairs in encoded for ids in ids_of(pairs)]
    for found, request in zip(asyncio.run(answers()), requests, strict=True):
        np.testing.assert_allclose(found, logits(reranker.rerank(request).ranked), rtol=0, atol=1e-5)


def test_stored_scores_belong_to_an_instruction(folder):
    encoder = load_encoder(exact(folder))
    sets = candidate_sets([("q", QUERIES[0], [("d", "x")])])
    column = sets.append_column("instruction", pa.array(["Find it."]))

    def nothing(hashes) -> StoredScores:
        unknown = np.full(len(hashes), np.nan, dtype=np.float32)
        return StoredScores(unknown, np.zeros(len(hashes), dtype=np.int32), np.zeros(len(hashes), dtype=np.bool_))

    def key(table: pa.Table, **options) -> tuple[int, int]:
        prepared = CandidateSets.from_table(prepare(table, encoder, lookup=nothing, **options))
        high, low = pair_hashes_of(prepared, np.zeros(1, dtype=np.int32))[0].tolist()
        return high, low

    plain, instructed = key(sets), key(column)
    assert plain != instructed
    assert key(sets, instruction="Find it.") == key(column, instruction="Other.") == instructed
    assert key(sets, instruction=" ") == plain
    assert plain == tuple(hash_pairs(pa.array([QUERIES[0]]), pa.array(["x"]), np.zeros(1, dtype=np.int32))[0].tolist())
