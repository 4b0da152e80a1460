"""`rerank bench scorer`: the same pairs for everybody, and rates that belong together."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from jobs.bench.command import app
from jobs.bench.language_model import make_language_model
from jobs.bench.options import Lengths
from jobs.bench.rivals.as_classifier import as_classifier
from jobs.bench.rivals.of_pairs import flops_of, rivals
from jobs.bench.scorer import head_of
from jobs.bench.scoring import measure, synthetic_sets, texts_of
from jobs.bench.sweep import recommended
from rerank.config import ScorerConfig
from rerank.engines import load_encoder, load_engine
from rerank.prepare import encode
from rerank.ranking.candidates import CandidateSets
from tests.jobs.tables import pairs_table, write_parts
from tests.text_models import make_late_interaction, make_vectors


def test_synthetic_texts_have_the_lengths_that_were_asked_for() -> None:
    sets = CandidateSets.from_table(synthetic_sets(Lengths.NQ, 2_000))
    words = np.array([len(text.split()) for _, text in texts_of(sets)])
    assert words.mean() == pytest.approx(105, rel=0.05) and words.max() > 3 * words.mean()
    assert synthetic_sets(Lengths.SHORT, 250).equals(synthetic_sets(Lengths.SHORT, 250))


def test_the_head_of_a_source_is_whole_candidate_sets(tmp_path: Path) -> None:
    rows = [(f"q{q}", f"query {q}", [(f"d{d}", f"text {d}") for d in range(10)]) for q in range(30)]
    write_parts(pairs_table(rows), tmp_path / "in", cuts=[95], row_group_size=50)
    assert head_of(str(tmp_path / "in"), 101).column("query_id").to_pylist() == [f"q{q}" for q in range(11)]
    assert len(head_of(str(tmp_path / "in"), 10_000)) == 30


def test_results_belong_together(folder_of, tmp_path: Path) -> None:
    arguments = ["scorer", "--model", str(folder_of("bert")), "--pairs", "120", "--rounds", "2", "--lengths", "short"]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--output", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out.json").read_text())
    assert results[0]["name"].startswith("rerank ") and results[1]["name"] == "predict float32, batch 32"
    for row in results:
        assert row["pairs"] == 120 and len(row["seconds"]) == 2
        assert row["tokens_per_second"] == pytest.approx(row["pairs_per_second"] * row["mean_tokens"], rel=0.01)
        assert 0 <= row["padding_share"] < 0.9 and row["flops_share"] > 0


@pytest.mark.parametrize("make", [make_late_interaction, make_vectors])
def test_models_for_single_texts_are_measured_beside_their_library(folder_of, tmp_path: Path, make) -> None:
    make(folder_of("bert"), tmp_path / "model")
    config = ScorerConfig(model=str(tmp_path / "model"), device="cpu", dtype="float32")
    ours, *others = measure(synthetic_sets(Lengths.SHORT, 100, texts=100), config, rounds=2)
    assert ours["name"] == "rerank packed float32" and others[0]["name"] == "encode and similarity_pairwise float32"
    for row in (ours, *others):
        assert row["pairs"] == 100 and row["pairs_per_second"] > 0 and 0 <= row["padding_share"] < 0.9


def test_a_language_model_is_measured_beside_the_same_weights_as_a_classifier(tmp_path: Path) -> None:
    """Of the shape that is made for it, with fewer and narrower layers."""
    sets = synthetic_sets(Lengths.SHORT, 100)
    small = {"vocab_size": 600, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "head_dim": 8}
    make_language_model(tmp_path, ["word1 word2", "yes or no"], **small)
    config = ScorerConfig(model=str(tmp_path), device="cpu", dtype="float32")
    ours, predict, classifier, unshared = measure(sets, config, rounds=1)
    assert ours["name"] == "rerank packed float32" and predict["name"].startswith("predict ")
    assert classifier["name"] == "rerank as a decoder classifier float32"
    assert unshared["name"] == "rerank without shared prefixes float32"
    assert ours["padding_share"] == classifier["padding_share"] and ours["pairs"] == 100
    pairs = encode(CandidateSets.from_table(sets), np.arange(9, dtype=np.int32), load_encoder(config))
    logits, expected = (engine.score(pairs).logits for engine in (load_engine(config), as_classifier(config)))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    assert np.ptp(logits) > 0


def test_what_is_installed_is_measured_too(folder_of, monkeypatch) -> None:
    """Stand-ins of the two libraries, with their calls as they are: FlagEmbedding 1.4 and rerankers 0.10."""
    from sentence_transformers import CrossEncoder

    asked: list[object] = []

    class Library:
        def __init__(self, name: str, **options: object) -> None:
            asked.append(options)
            loaded = CrossEncoder(name, device="cpu")
            self.model, self.predict = loaded[0], loaded.predict

        def compute_score(self, pairs: list[tuple[str, str]]) -> None:
            self.predict(pairs)

        def rank(self, query: str, docs: list[str]) -> None:
            asked.append((query, docs))
            self.predict([(query, text) for text in docs])

    packages = {"FlagEmbedding": SimpleNamespace(FlagReranker=Library), "rerankers": SimpleNamespace(Reranker=Library)}
    monkeypatch.setattr("jobs.bench.rivals.of_pairs.find_spec", packages.get)
    monkeypatch.setattr("jobs.bench.rivals.of_pairs.import_module", packages.get)
    pairs = [("a", "b"), ("a", "c d"), ("e", "f")]
    *_, flag, other = rivals(ScorerConfig(model=str(folder_of("bert")), device="cpu", max_length=32), pairs)
    assert asked[0] == {"use_fp16": False, "devices": "cpu", "max_length": 32}
    assert (flag.name, other.name) == ("FlagReranker float32", "rerankers float32")
    assert flag.score(pairs) > other.score(pairs) > 0, "three pairs filled up to one length, or two and one"
    assert asked[2:] == [("a", ["b", "c d"]), ("e", ["f"])]


def test_the_work_of_a_forward_grows_with_the_square_of_its_length(folder_of) -> None:
    config = ScorerConfig(model=str(folder_of("bert")))
    one, two = flops_of(config, np.array([10])), flops_of(config, np.array([20]))
    assert two > 2 * one
    assert two - 2 * one == 4 * 3 * 32 * (400 - 200)


def test_all_encoders_give_as_many_tokens(folder_of, tmp_path: Path) -> None:
    arguments = ["tokenize", "--model", str(folder_of("bert")), "--pairs", "1000", "--rounds", "1"]
    arguments += ["--lengths", "short", "--max-length", "40", "--output", str(tmp_path / "out.json")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out.json").read_text())
    assert [row["name"] for row in results] == ["rerank", "transformers' pair call", "tokenizers' pair call"]
    assert len({row["tokens"] for row in results}) == 1 and results[0]["tokens"] > 10_000
    assert {(row["pairs"], row["distinct_texts"]) for row in results} == {(1_000, 100)}


def test_sweep_tries_the_budgets_and_recommends_one(folder_of, tmp_path: Path) -> None:
    arguments = ["sweep", "--model", str(folder_of("bert")), "--pairs", "100", "--rounds", "1", "--device", "cpu"]
    arguments += ["--lengths", "short", "--budget", "256", "--budget", "1024", "--output", str(tmp_path / "out.json")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out.json").read_text())
    assert [(row["batch_tokens"], row["pairs"]) for row in results] == [(256, 100), (1024, 100)]
    assert f"recommended: --batch-tokens {recommended(results)}" in done.stderr


def test_the_smallest_budget_that_is_fast_enough_is_recommended() -> None:
    rates = {1_024: 80.0, 2_048: 99.0, 4_096: 100.0, 8_192: 97.0}
    assert recommended([{"batch_tokens": at, "pairs_per_second": rate} for at, rate in rates.items()]) == 2_048
