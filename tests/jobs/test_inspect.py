"""`rerank inspect`: what a model is and needs, as a table and as JSON."""

import json

from typer.testing import CliRunner

from jobs.cli import app
from tests.text_models import make_late_interaction


def test_it_says_what_a_classifier_is_and_needs(folder_of):
    folder = str(folder_of("bert"))
    done = CliRunner().invoke(app, ["inspect", folder, "--json", "--device", "cpu", "--dtype", "float32"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["parameters"] * 4 == told["weight_bytes"] < told["memory_bytes"]
    assert {name: told[name] for name in ("kind", "architecture", "max_length", "template", "engine", "relevance")} == {
        "kind": "sequence classifier",
        "architecture": "BertForSequenceClassification",
        "max_length": 96,
        "template": "[CLS] {query} [SEP] {document} [SEP]",
        "engine": "packed",
        "relevance": "sigmoid of the logit",
    }
    shown = CliRunner().invoke(app, ["inspect", folder, "--device", "cpu"]).stdout
    assert "[CLS] {query} [SEP] {document} [SEP]" in shown and "96 tokens" in shown


def test_it_says_how_texts_by_themselves_are_read(folder_of, tmp_path):
    make_late_interaction(folder_of("bert"), tmp_path / "model", prompts={"query": "find: ", "document": ""})
    told = json.loads(CliRunner().invoke(app, ["inspect", str(tmp_path / "model"), "--json", "--device", "cpu"]).stdout)
    assert told["kind"] == "late interaction" and told["engine"] == "packed"
    assert told["template"] == "[CLS] find: {query} [SEP] | [CLS] {document} [SEP]"
    assert told["instruction"] == "find: "
    assert told["instruction_place"] == "in front of the query"
    assert told["relevance"].startswith("the logit divided by the number of query")


def test_what_is_no_model_is_a_usage_error(tmp_path):
    done = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert done.exit_code == 2
    assert "it has no config.json" in done.stderr
