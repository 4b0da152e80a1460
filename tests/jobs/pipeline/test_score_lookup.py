"""What a job finds out of its model on a worker, and sends to the others."""

import json
import shutil

import pytest
from tokenizers import NormalizedString, PreTokenizedString, pre_tokenizers

import rerank.engines
from jobs.pipeline import dataset
from jobs.pipeline.score_lookup import resolve_and_ship
from rerank.config import ScorerConfig
from rerank.engines import load_encoder
from rerank.errors import ModelError


class Words:
    """Cuts a text at every blank, in Python."""

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        def cut(_: int, piece: NormalizedString) -> list[NormalizedString]:
            return piece.split(" ", "removed")

        text.split(cut)


@pytest.fixture
def scorer(folder_of) -> ScorerConfig:
    return ScorerConfig(model=str(folder_of("bert")), device="cpu")


def test_the_encoder_is_sent_with_what_it_is_an_encoder_of(scorer):
    resolved, identity, encoder = resolve_and_ship(scorer)
    assert resolved == scorer.model_copy(update={"dtype": identity.dtype, "content": identity.content})
    assert (encoder.template, encoder.max_length) == (identity.template, identity.max_length)


def test_an_encoder_with_parts_in_python_is_left_to_be_loaded(scorer, monkeypatch):
    encoder = load_encoder(scorer)
    encoder._tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Words())
    monkeypatch.setattr(rerank.engines, "load_encoder", lambda _: encoder)
    assert len(encoder.encode(["a b"], ["c"], [0], [0])) == 1
    assert resolve_and_ship(scorer)[2] is None


def test_a_task_that_loads_the_encoder_itself_refuses_other_files(folder_of, tmp_path):
    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    resolved, _, encoder = resolve_and_ship(ScorerConfig(model=str(tmp_path), device="cpu"))
    assert dataset._load_encoder(resolved).template == encoder.template
    dataset._load_encoder.cache_clear()  # another process
    (tmp_path / "tokenizer.json").write_text((tmp_path / "tokenizer.json").read_text() + " ")
    with pytest.raises(ModelError, match=f"'{tmp_path}' on .+ is another model"):
        dataset._load_encoder(resolved)


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"architectures": ["BertModel"]}, "has the weights of BertModel, without a classifier"),
        ({"architectures": ["BertForMaskedLM"]}, "has the weights of BertForMaskedLM, without a classifier"),
        ({"id2label": {"0": "no", "1": "yes"}}, "gives 2 scores per pair, a cross-encoder gives 1"),
        ({"model_type": "no-such-type"}, "cannot load the tokeniser"),
    ],
)
def test_what_the_config_tells_is_found_before_any_weights_are_read(folder_of, tmp_path, declared, complaint):
    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text()) | declared
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=complaint):
        resolve_and_ship(ScorerConfig(model=str(tmp_path), device="cpu"))
