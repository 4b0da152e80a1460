from pathlib import Path

import pytest
import yaml

from rerank.errors import ConfigError
from serve.app import check_address, served_models
from serve.settings import parse_settings
from tests.serve.standins import LengthScorer

SERVE = Path(__file__).parents[2] / "serve"


def test_no_arguments_serve_the_bundled_model():
    (model,) = parse_settings({}).models
    assert (model.name, model.scorer.model) == ("docs-mini", "docs-mini")


def test_the_command_line_s_strings_are_one_model_s_settings():
    settings = parse_settings({"model": "a/b", "max_length": "256", "min_replicas": "2", "max_waiting_pairs": "9"})
    (model,) = settings.models
    assert (model.name, model.scorer.max_length, model.max_waiting_pairs) == ("a/b", 256, 9)


def test_models_have_names_aliases_and_replicas_of_their_own():
    settings = parse_settings(
        {
            "models": [
                {"name": "small", "model": "docs-mini", "aliases": ["default"]},
                {"model": "BAAI/bge-reranker-v2-m3", "max_length": 8192, "min_replicas": 0, "max_replicas": 4},
            ],
            "limits": {"documents": 10},
        }
    )
    small, large = settings.models
    assert (small.aliases, large.name, large.max_replicas) == (("default",), "BAAI/bge-reranker-v2-m3", 4)
    assert settings.limits.documents == 10


def test_pages_that_may_call_are_named_by_their_origins():
    assert parse_settings({}).cors_origins == ()
    origins = ["https://app.example", "http://localhost:3000", "chrome-extension://abc"]
    assert parse_settings({"cors_origins": origins}).cors_origins == tuple(origins)
    assert parse_settings({"cors_origins": ["*"]}).cors_origins == ("*",)


@pytest.mark.parametrize(
    "origin", ["https://app.example/", "app.example", "https://app.example/page", "", "https://*/"]
)
def test_what_no_browser_sends_as_its_origin_is_refused(origin):
    with pytest.raises(ConfigError, match=r"cors_origins\.0: string should match pattern"):
        parse_settings({"cors_origins": [origin]})


def test_special_tokens_and_content_are_settings_of_each_model():
    content = f"hub:a/b@{'a' * 40}"
    split = {"model": "a/b", "name": "split", "split_special_tokens": True, "content": content}
    first, second = parse_settings({"models": [split, {"model": "a/b"}]}).models
    assert (first.scorer.split_special_tokens, first.scorer.content) == (True, content)
    assert (second.scorer.split_special_tokens, second.scorer.content) == (False, None)
    with pytest.raises(ConfigError, match="content: string should match pattern"):
        parse_settings({"content": "a" * 40})


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"modle": "x"}, "did you mean 'model'"),
        ({"max_lenght": "3"}, "arguments: unknown setting 'max_lenght': did you mean 'max_length'"),
        ({"limit": {}}, "arguments: unknown setting 'limit': did you mean 'limits'"),
        ({"models": [{"max_lenght": 3}]}, r"models\[0\]: unknown setting 'max_lenght': did you mean 'max_length'"),
        ({"models": [{"max_replica": 3}]}, r"models\[0\]: unknown setting 'max_replica': did you mean 'max_replicas'"),
        ({"models": [{"max_length": 3}]}, r"models\[0\]: max_length: .* 8"),
        (
            {"models": [{"scorer": {"max_length": 99}}]},
            r"models\[0\]: unknown setting 'scorer': the settings of the model",
        ),
        ({"scorer": {"max_length": 99}}, "arguments: unknown setting 'scorer'"),
        ({"models": []}, "models"),
        ({"models": "docs-mini"}, "models: must be a list of settings"),
        ({"models": [{"name": "a"}, {"name": "b", "aliases": ["a"]}]}, "two models are called 'a'"),
        ({"limits": {"document": 3}}, "limits: unknown setting 'document': did you mean 'documents'"),
    ],
)
def test_a_bad_setting_is_named_with_the_nearest_good_one(args, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings(args)


SERVED = [{"name": "a", "aliases": ["first"]}, {"name": "b", "model": "x/y"}]
CASCADE = {"name": "c", "stages": [{"model": "first", "keep": 5}, {"model": "b"}]}


def test_a_cascade_stands_among_the_models():
    settings = parse_settings({"models": [{**CASCADE, "on_stage_failure": "fallback", "aliases": ["best"]}, *SERVED]})
    assert [model.name for model in settings.models] == ["c", "a", "b"]
    assert [model.name for model in settings.deployed] == ["a", "b"]
    (cascade,) = settings.cascades
    assert cascade.on_stage_failure == "fallback"
    models = served_models(settings, {"a": LengthScorer(), "b": LengthScorer()})
    assert (models.find(None)[0], models.find("best")[0], models.names) == ("c", "c", ["c", "a", "b"])


def test_a_cascade_sleeps_with_its_stages():
    served = [{"name": "a", "aliases": ["first"], "min_replicas": 0}, SERVED[1]]
    settings = parse_settings({"models": [*served, CASCADE]})
    assert served_models(settings, {"a": LengthScorer(), "b": LengthScorer()}).may_sleep == {"a", "c"}


@pytest.mark.parametrize(
    ("cascade", "message"),
    [
        ({"stages": [{"model": "c", "keep": 5}, {"model": "b"}]}, "models: cascade 'c': names itself as a stage"),
        ({"aliases": ["d"], "stages": [{"model": "d", "keep": 5}, {"model": "b"}]}, "cascade 'c': names itself"),
        (
            {"stages": [{"model": "z", "keep": 5}, {"model": "b"}]},
            "stage 'z' is not served here, accepted are 'a', 'b'",
        ),
        ({"stages": [{"model": "a", "keep": 5}, {"model": "first"}]}, "stages 1 and 2 have the same model 'a'"),
        ({"stages": [{"model": "a", "keep": 5}, {"model": "b", "keep": 6}]}, r"stage 2 \(b\) must keep at most the 5"),
        ({"stages": [{"model": "a"}, {"model": "b"}]}, r"stage 1 \(a\) must say how many candidates it keeps"),
        ({"stages": [{"model": "a", "keep": 5}]}, "a cascade must have at least 2 stages, got 1"),
        ({"on_stage_failure": "ignore"}, r"models\[2\]: on_stage_failure: .*'fail' or 'fallback'"),
        (
            {"on_stage_failur": "fail"},
            r"models\[2\]: unknown setting 'on_stage_failur': did you mean 'on_stage_failure'",
        ),
        ({"name": "a"}, "two models are called 'a'"),
    ],
)
def test_a_cascade_that_cannot_be_served_is_a_sentence(cascade, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings({"models": [*SERVED, CASCADE | cascade]})


def test_a_cascade_of_a_cascade_is_refused():
    outer = {"name": "outer", "stages": [{"model": "c", "keep": 5}, {"model": "b"}]}
    with pytest.raises(ConfigError, match="stage 'c' is a cascade itself, accepted are 'a', 'b'"):
        parse_settings({"models": [*SERVED, CASCADE, outer]})


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "127.0.0.1.example.com"])
def test_without_keys_only_this_machine_may_ask(host):
    with pytest.raises(ConfigError, match="open to other machines, and no API keys are set"):
        check_address(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "localhost", "::1", None])
def test_loopback_needs_no_keys(host):
    check_address(host)


def test_the_yaml_files_are_valid():
    from ray.serve.schema import ServeDeploySchema

    service = yaml.safe_load((SERVE / "rayservice.yaml").read_text())
    for text in ((SERVE / "config.yaml").read_text(), service["spec"]["serveConfigV2"]):
        schema = ServeDeploySchema.model_validate(yaml.safe_load(text))
        assert parse_settings(schema.applications[0].args).models[0].name == "docs-mini"
