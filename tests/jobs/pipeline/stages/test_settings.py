"""Stages as people write them, and what they are told about those that cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.pipeline.stages.pool_settings import ActorRange, PoolSettings
from jobs.pipeline.stages.settings import StageConfig, parse_stages, stage_entries
from rerank.config import ScorerConfig
from rerank.errors import ConfigError


@pytest.mark.parametrize(
    ("flag", "model", "keep"),
    [
        ("docs-mini:100", "docs-mini", 100),
        ("BAAI/bge-reranker-v2-m3:20", "BAAI/bge-reranker-v2-m3", 20),
        ("docs-mini", "docs-mini", None),
        ("C:/models/a:7", "C:/models/a", 7),
        ("org/a:b", "org/a:b", None),
        ("org/a:b:5", "org/a:b", 5),
    ],
)
def test_a_flag_is_a_model_and_a_number(flag: str, model: str, keep: int | None) -> None:
    expected = {"model": model} if keep is None else {"model": model, "keep": keep}
    assert stage_entries([flag]) == [expected]


def test_a_stage_may_have_all_settings_and_the_defaults_fill_in() -> None:
    entries = [{"model": "a", "keep": 9, "max_length": 64, "gpus": 0.5}, {"model": "b", "actors": "3:8"}]
    defaults = {"dtype": "float32", "max_length": 128}
    assert parse_stages(entries, defaults=defaults, pool=PoolSettings(actors=ActorRange(2, 2))) == (
        StageConfig(
            scorer=ScorerConfig(model="a", dtype="float32", max_length=64),
            keep=9,
            pool=PoolSettings(actors=ActorRange(2, 2), gpus=0.5),
        ),
        StageConfig(
            scorer=ScorerConfig(model="b", dtype="float32", max_length=128), pool=PoolSettings(actors=ActorRange(3, 8))
        ),
    )


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ("a:5", "stages: must be a list of settings such as {model: NAME, keep: 100}, got 'a:5'"),
        (["a:5"], "stages: must be a list of settings"),
        ([{"keep": 5}], "stages: stage 1: must name its model, got {'keep': 5}"),
        ([{"model": "a", "kep": 5}], "stages: stage 1: unknown setting 'kep': did you mean 'keep'?"),
        (
            [{"model": "a", "max_lenght": 5}],
            "stages: stage 1: unknown setting 'max_lenght': did you mean",
        ),
        ([{"model": "a", "keep": 0}], "stages: stage 1: keep: input should be greater than or equal to 1, got 0"),
        ([{"model": "a", "keep": 1, "gpus": -1}], "stages: stage 1: gpus: input should be greater"),
        ([{"model": "a", "actor": 2}], "stages: stage 1: unknown setting 'actor': did you mean 'actors'?"),
        ([{"model": "a", "actors": "3:2"}], "stages: stage 1: actors: must be N or MIN:MAX with 1 <= MIN <= MAX"),
        ([{"model": "a", "keep": 5}], "stages: a cascade must have at least 2 stages, got 1"),
        ([{"model": "a", "keep": 5}, {"model": "b", "keep": 6}], "stages: stage 2 (b) must keep at most the 5"),
        ([{"model": "a", "keep": 5}, {"model": "a"}], "stages: stages 1 and 2 have the same model 'a'"),
    ],
)
def test_stages_that_cannot_be_are_a_sentence(entries: Any, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_stages(entries, defaults={})
    assert str(refused.value).startswith(complaint)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Run a command that must be refused before it reads its input, and return what it says."""

    def run(config: str | None, *flags: str) -> str:
        words = ["run", str(tmp_path / "in.parquet"), str(tmp_path / "out"), *flags]
        if config is not None:
            (tmp_path / "config.yaml").write_text(config)
            words += ["--config", str(tmp_path / "config.yaml")]
        done: Result = CliRunner().invoke(app, words)
        assert done.exit_code == 2, done.output
        return done.stderr.replace(f"{tmp_path}/", "")

    return run


@pytest.mark.parametrize(
    ("config", "flags", "complaint"),
    [
        (None, ["--stage", "a:5"], "rerank: --stage: a cascade must have at least 2 stages, got 1"),
        (None, ["--stage", "a:5", "--stage", "b:6"], "rerank: --stage: stage 2 (b) must keep at most the 5 candidates"),
        (None, ["--stage", "a:5", "--stage", "a"], "rerank: --stage: stages 1 and 2 have the same model 'a'"),
        (None, ["--stage", "a:5", "--stage", "b", "--model", "c"], "rerank: --model and --revision cannot be combined"),
        (None, ["--stage", "a:5", "--stage", "b", "--mix", "rrf:0.5"], "rerank: --mix rrf:0.5 cannot be combined with"),
        (None, ["--stage-logits"], "rerank: --stage-logits is for a cascade: give --stage twice or more"),
        ("stages: 5", [], "rerank: stages: must be a list of settings"),
        ("stages: [{model: a, keep: 5}, {model: a}]", [], "rerank: stages: stages 1 and 2 have the same model 'a'"),
        ("stages: [{model: a, keep: 5, actors: 4:1}, {model: b}]", [], "rerank: stages: stage 1: actors: must be N or"),
        ("actors: 1:0", [], "rerank: flags: actors: must be N or MIN:MAX with 1 <= MIN <= MAX, got '1:0'"),
        ("resources: {GPU: 1}", [], "rerank: --resources must be a JSON object such as"),
        ("prepare_resources: {cpu: no}", [], "rerank: --prepare-resources must be a JSON object such as"),
        ("top_q: 5", [], "rerank: config.yaml: unknown option 'top_q': did you mean 'top_k'?"),
        ("stage: [a]", [], "rerank: config.yaml: unknown option 'stage': did you mean 'stages'?"),
        ("source: x", [], "rerank: config.yaml: unknown option 'source'"),
        ("passages: 256", [], "rerank: config.yaml: passages must be a mapping such as {tokens: 256}, got 256"),
        ("passages: {token: 9}", [], "config.yaml: unknown option 'token' of passages: accepted are tokens, overlap"),
        ("passages: {tokens: 9, overlap: 9}", [], "overlap must be"),
        ("[1]", [], "rerank: config.yaml: must be a mapping of options to values, got [1]"),
        ("a: [", [], "rerank: config.yaml: cannot be read as YAML"),
        ("mix: half", [], "rerank: mix must be METHOD:WEIGHT"),
        ("mix: half", ["--mix", "third:1"], "got 'third:1'"),  # a flag wins
    ],
)
def test_a_cascade_or_a_file_that_cannot_be_used_ends_the_command_with_a_sentence(
    refused: Callable[..., str], config: str | None, flags: list[str], complaint: str
) -> None:
    assert complaint in refused(config, *flags)


def test_options_of_the_file_are_checked_as_flags_are(refused: Callable[..., str]) -> None:
    assert "Invalid value for '--top-k'" in refused("top-k: many")
