"""Kinds are told by what a model's files declare; nothing is loaded."""

import json
from pathlib import Path

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from rerank import model_files
from rerank.config import ScorerConfig
from rerank.engines.kinds import Kind, declared_by, kind_of
from rerank.errors import ModelError, UnavailableError

LIBRARY = "sentence_transformers.base.modules"
TRANSFORMER, LOGIT_SCORE = f"{LIBRARY}.Transformer", "sentence_transformers.cross_encoder.modules.LogitScore"
POOLING, DENSE = "sentence_transformers.models.Pooling", f"{LIBRARY}.Dense"
MASK = "sentence_transformers.multi_vector_encoder.modules.MultiVectorMask"


def model(folder: Path, config: dict, modules: tuple[str, ...] = (), library: str | None = None, dense: int = 1) -> str:
    """A folder with these declarations and nothing else."""
    (folder / "config.json").write_text(json.dumps(config))
    paths = [f"{place}_x" if place else "" for place in range(len(modules))]
    if modules:
        entries = [{"path": path, "type": name} for path, name in zip(paths, modules, strict=True)]
        (folder / "modules.json").write_text(json.dumps(entries))
        for path in paths[1:]:
            (folder / path).mkdir()
            (folder / path / "config.json").write_text(json.dumps({"out_features": dense}))
    if library:
        (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": library}))
    return str(folder)


def of(*names: str, **more: object) -> dict:
    return {"architectures": list(names), **more}


@pytest.mark.parametrize(
    ("config", "modules", "library", "kind"),
    [
        (of("BertForSequenceClassification"), (), None, Kind.CLASSIFIER),
        (of("BertForSequenceClassification"), (TRANSFORMER,), "CrossEncoder", Kind.CLASSIFIER),
        (of(), (), None, Kind.CLASSIFIER),
        (of("Qwen3ForCausalLM"), (), None, Kind.LANGUAGE_MODEL),
        (of("Qwen2ForCausalLM"), (TRANSFORMER, LOGIT_SCORE), "CrossEncoder", Kind.LANGUAGE_MODEL),
        (of("Qwen3Model"), (TRANSFORMER, POOLING, DENSE), "CrossEncoder", Kind.HIDDEN_STATE),
        (of("BertModel"), (TRANSFORMER, DENSE, MASK), "MultiVectorEncoder", Kind.LATE_INTERACTION),
        (of("ModernBertModel"), (TRANSFORMER, "pylate.models.Dense.Dense"), None, Kind.LATE_INTERACTION),
        (of("HF_ColBERT"), (), None, Kind.LATE_INTERACTION),
        (of("BertModel"), (TRANSFORMER, POOLING), None, Kind.VECTOR),
        (of("BertModel"), (TRANSFORMER, POOLING, DENSE), "SentenceTransformer", Kind.VECTOR),
    ],
)
def test_the_files_tell_the_kind(tmp_path, config, modules, library, kind):
    assert kind_of(ScorerConfig(model=model(tmp_path, config, modules, library))) is kind


@pytest.mark.parametrize(
    ("config", "modules", "library", "complaint"),
    [
        (of("BertForMaskedLM"), (), None, "has the weights of BertForMaskedLM, without a classifier; accepted are"),
        (of("JinaForRanking"), (), None, "declares architectures JinaForRanking: a listwise reranker"),
        (of("Qwen3VLForConditionalGeneration", vision_config={}), (), None, "a multimodal reranker"),
        (
            of("BertForMaskedLM"),
            (TRANSFORMER, "x.SpladePooling"),
            "SparseEncoder",
            "modules Transformer, SpladePooling",
        ),
    ],
)
def test_other_kinds_are_named_and_refused(tmp_path, config, modules, library, complaint):
    with pytest.raises(ModelError, match=complaint):
        kind_of(ScorerConfig(model=model(tmp_path, config, modules, library)))


def test_a_dense_layer_with_several_outputs_is_refused(tmp_path):
    folder = model(tmp_path, of("Qwen3Model"), (TRANSFORMER, POOLING, DENSE), "CrossEncoder", dense=3)
    with pytest.raises(ModelError, match="accepted are models of the kinds sequence classifier, language model"):
        kind_of(ScorerConfig(model=folder))


def hub_error(kind: type[Exception], status: int) -> Exception:
    return kind("no", response=httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co")))


@pytest.mark.parametrize(
    ("problem", "error", "complaint"),
    [
        (hub_error(GatedRepoError, 403), ModelError, "is gated: ask for access at https://huggingface.co/acme/gone"),
        (hub_error(RepositoryNotFoundError, 404), ModelError, "neither a folder nor a model on the Hub"),
        (hub_error(RevisionNotFoundError, 404), ModelError, "has no revision None"),
        (LocalEntryNotFoundError("offline"), UnavailableError, "the Hub cannot be reached"),
        (OSError("connection reset"), UnavailableError, "cannot be fetched from the Hub: connection reset"),
    ],
)
def test_what_the_hub_answers_is_one_sentence(monkeypatch, problem, error, complaint):
    """UnavailableError is exit code 1: it may pass."""

    def download(*_: object, **__: object) -> str:
        raise problem

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    for cached in (model_files._from_hub, declared_by):
        cached.cache_clear()
    with pytest.raises(error, match=complaint):
        kind_of(ScorerConfig(model="acme/gone"))


def test_a_path_that_is_no_folder_is_no_failure_that_passes(tmp_path):
    with pytest.raises(ModelError, match="neither a folder nor a model on the Hub"):
        kind_of(ScorerConfig(model=str(tmp_path / "nothing")))
