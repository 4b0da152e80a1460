"""Fingerprints: another for whatever changes a logit, the same for what does not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairTemplate
from rerank.errors import ModelError
from rerank.fingerprint import ModelIdentity, check_content, identify, pin

TEMPLATE = PairTemplate(((101,), (102,), (102,)), (0, 0, 0, 1, 1))


def of(model: Path | str, **config) -> ModelIdentity:
    return identify(ScorerConfig(model=str(model), **config), max_length=96, template=TEMPLATE, dtype="float32")


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (folder / name).write_text(f"content of {name}")
    return folder


def test_it_is_32_hexadecimal_digits_and_stays_the_same(folder):
    assert of(folder).fingerprint == of(folder).fingerprint
    assert len(of(folder).fingerprint) == 32 and int(of(folder).fingerprint, 16)


def test_the_format_stays_the_same():
    """A change here would make every store useless."""
    identity = ModelIdentity("tiny", "files:0", 96, TEMPLATE, "float32")
    assert identity.fingerprint == "e5c082c449085e067962f9e473402b67"


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 128},
        {"template": PairTemplate(((101,), (102,), (102,)), (0, 0, 0, 0, 0))},
        {"template": PairTemplate(((101, 102), (), (102,)), (0, 0, 0, 1, 1))},
        {"dtype": "bfloat16"},
        {"content": "files:other"},
        {"truncation": "only_second"},
        {"passages": "best of 3"},
        {"trust_remote_code": True},
        {"deterministic": True},
        {"split_special_tokens": True},
        {"kind": "language model"},
        {"text_format": "find: "},
    ],
)
def test_what_changes_a_logit_changes_it(folder, change):
    assert replace(of(folder), **change).fingerprint != of(folder).fingerprint


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_every_file_of_a_model_counts(folder, name):
    before = of(folder).fingerprint
    (folder / name).write_text("Content of " + name)
    assert of(folder).fingerprint != before


def test_files_that_are_not_loaded_and_the_place_do_not_count(folder, tmp_path):
    before = of(folder).fingerprint
    for name in ("README.md", ".gitattributes", "onnx/model.bin", "checkpoint-100/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    shutil.move(folder, tmp_path / "elsewhere")
    assert of(tmp_path / "elsewhere").fingerprint == before


@pytest.mark.parametrize("setting", ["deterministic", "split_special_tokens"])
def test_scores_of_a_setting_that_came_later_are_kept_apart(folder, setting):
    assert of(folder, **{setting: True}).fingerprint != of(folder).fingerprint
    assert of(folder, **{setting: False}).fingerprint == of(folder).fingerprint


def test_device_batches_and_threads_do_not_count(folder):
    assert of(folder, device="cpu", batch_tokens=64, threads=1).fingerprint == of(folder).fingerprint


def test_the_bundled_model_has_one():
    assert of("docs-mini").content.startswith("files:")


def test_a_hub_model_is_known_by_its_commit(hub):
    assert of("acme/ranker").content == f"hub:acme/ranker@{'a' * 40}"
    assert of("acme/ranker", revision="a" * 40).fingerprint == of("acme/ranker").fingerprint


def test_a_model_that_is_nowhere_is_one_sentence(hub, tmp_path):
    with pytest.raises(ModelError, match="neither a folder nor a model on the Hub"):
        of("acme/nothing")
    with pytest.raises(ModelError, match="neither a folder nor a model on the Hub"):
        of(tmp_path / "no such folder")


def test_settings_are_pinned_to_the_content_of_a_folder(folder):
    pinned = pin(ScorerConfig(model=str(folder)))
    assert pinned == ScorerConfig(model=str(folder), content=of(folder).content)
    assert of(folder, content=pinned.content) == of(folder)
    assert pin(pinned) == pinned
    check_content(pinned)
    (folder / "tokenizer.json").write_text("another")
    for check in (check_content, pin):
        with pytest.raises(ModelError, match=f"^'{folder}' on .+ is another model: it has the content files:.+, expe"):
            check(pinned)


def test_settings_are_pinned_to_the_commit_of_a_hub_model(hub):
    pinned = pin(ScorerConfig(model="acme/ranker"))
    assert (pinned.revision, pinned.content) == ("a" * 40, f"hub:acme/ranker@{'a' * 40}")
    (hub / "snapshots" / ("b" * 40)).mkdir()
    (hub / "snapshots" / ("b" * 40) / "config.json").write_text("{}")
    (hub / "refs" / "main").write_text("b" * 40)
    check_content(pinned)
    with pytest.raises(ModelError, match=f"it has the content hub:acme/ranker@{'b' * 40}, expected .*@{'a' * 40}; "):
        check_content(pinned.model_copy(update={"revision": None}))


def test_settings_that_say_nothing_of_the_content_read_no_files(tmp_path):
    check_content(ScorerConfig(model=str(tmp_path / "no such folder")))
