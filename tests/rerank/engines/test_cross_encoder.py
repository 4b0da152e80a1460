"""What the cross-encoder engine takes, refuses and tells; its logits are compared in test_oracle."""

import json
import shutil

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from rerank.config import ScorerConfig
from rerank.engines import load_encoder, load_engine
from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.engines.device.choices import pick_device
from rerank.errors import ConfigError, ModelError
from rerank.reranker import Reranker
from tests.models import CORPUS, bring_own_code
from tests.rerank.test_oracle import oracle


def edit(folder, name, **values):
    """A JSON file of a model folder with some entries changed."""
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(settings | values))


@pytest.fixture
def copy_of(folder_of, tmp_path):
    return lambda family: shutil.copytree(folder_of(family), tmp_path / family)


def on_cpu(folder, **options) -> ScorerConfig:
    return ScorerConfig(model=str(folder), device="cpu", dtype="float32", threads=1, **options)


def test_the_description_tells_what_runs(folder_of):
    folder = folder_of("bert")
    description = load_engine(on_cpu(folder)).description
    assert description.pop("torch")
    assert description == {
        "model": str(folder),
        "kind": "sequence classifier",
        "engine": "packed",
        "device": "cpu",
        "dtype": "float32",
    }


@pytest.mark.parametrize("packed", [True, False])
def test_the_computed_tokens_count_the_padding(folder_of, packed):
    config = on_cpu(folder_of("bert"), batch_tokens=1_000)
    reranker = Reranker(config, engine=CrossEncoderEngine(config, packed=packed))
    pairs = reranker.encoder.pair(
        reranker.encoder.tokenize(["a"]),
        reranker.encoder.tokenize(["b", "b c d e"]),
        np.zeros(2, dtype=np.int32),
        np.arange(2, dtype=np.int32),
    )
    computed = reranker.engine.score(pairs).computed_tokens
    assert computed == (32 if packed else 2 * pairs.lengths.max()) > pairs.lengths.sum()


def test_no_pairs_give_no_logits(folder_of):
    reranker = Reranker(on_cpu(folder_of("bert")))
    nothing, none = reranker.encoder.tokenize([]), np.zeros(0, dtype=np.int32)
    scores = reranker.engine.score(reranker.encoder.pair(nothing, nothing, none, none))
    assert (scores.logits.shape, scores.computed_tokens) == ((0,), 0)


def test_a_model_that_is_not_there_is_refused(tmp_path):
    for load in (load_encoder, load_engine):
        with pytest.raises(ModelError, match="cannot load"):
            load(on_cpu(tmp_path))


def test_a_classifier_with_two_labels_is_refused(folder_of, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    BertForSequenceClassification(BertConfig.from_pretrained(tmp_path, num_labels=2)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="gives 2 scores per pair, a cross-encoder gives 1"):
        load_engine(on_cpu(tmp_path))


def test_weights_that_do_not_fit_the_config_are_refused(copy_of):
    folder = copy_of("bert")
    edit(folder, "config.json", hidden_size=16)
    with pytest.raises(ModelError, match="cannot load"):
        load_engine(on_cpu(folder))


def test_an_encoder_without_a_classifier_is_refused(folder_of, tmp_path):
    """It would be given a random one, with no more than a warning."""
    from transformers import BertConfig, BertModel

    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    BertModel(BertConfig.from_pretrained(tmp_path)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has the weights of BertModel, without a classifier"):
        load_engine(on_cpu(tmp_path))


def test_a_classifier_may_have_a_chat_template(copy_of):
    folder = copy_of("qwen3")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    ranked = Reranker(on_cpu(folder)).rank(CORPUS[0], CORPUS[1:])
    expected = oracle(CrossEncoder(str(folder), device="cpu"), [(CORPUS[0], text) for text in CORPUS[1:]])
    logits = [document.logit for document in sorted(ranked, key=lambda document: document.index)]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ messages[0].content }}", "loses the document"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "loses the query and the document"),
        ("{{ raise_exception('Only user and assistant') }}", "cannot render a query and a document: Only user"),
    ],
)
def test_a_chat_template_that_loses_a_text_is_refused(copy_of, template, complaint):
    folder = copy_of("qwen3")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=complaint):
        load_encoder(on_cpu(folder))


def test_weights_that_are_no_safetensors_are_refused_unless_asked_for(copy_of):
    import torch
    from safetensors.torch import load_file

    folder = copy_of("bert")
    expected = Reranker(on_cpu(folder)).rank("a", CORPUS[:3]).ranked
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights in safetensors; others are loaded only with allow_pickle"):
        load_engine(on_cpu(folder))
    assert Reranker(on_cpu(folder, allow_pickle=True)).rank("a", CORPUS[:3]).ranked == expected


def test_a_model_with_code_of_its_own_runs_padded_if_trusted(copy_of):
    folder = copy_of("bert")
    bring_own_code(folder, family="Bert", head="ForSequenceClassification", output="logits")
    for load in (load_encoder, load_engine):
        with pytest.raises(ModelError, match="brings Python code of its own"):
            load(on_cpu(folder))
    reranker = Reranker(on_cpu(folder, trust_remote_code=True))
    assert reranker.engine.description["engine"] == "padded"
    ranked = reranker.rank(CORPUS[0], CORPUS[1:])
    library = CrossEncoder(str(folder), device="cpu", trust_remote_code=True)
    expected = oracle(library, [(CORPUS[0], text) for text in CORPUS[1:]])
    logits = [document.logit for document in sorted(ranked, key=lambda document: document.index)]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_truncation_on_the_left_is_refused(copy_of):
    folder = copy_of("bert")
    edit(folder, "tokenizer_config.json", truncation_side="left")
    with pytest.raises(ModelError, match="truncates texts on the left"):
        load_encoder(on_cpu(folder))


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="unknown name 'abacus'"):
        pick_device("abacus")
