"""`rerank store`: list, compact, delete."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.store import app
from rerank.store import ScoreStore
from tests.rerank.store.test_store import random_hashes, save

FIRST, SECOND = "a" * 32, "b" * 32


def command(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=typed)


@pytest.fixture
def folder(tmp_path) -> str:
    """Two models: 20 pairs in two parts, and 5 in one."""
    first, second = (ScoreStore(str(tmp_path / "store"), fingerprint) for fingerprint in (FIRST, SECOND))
    first.describe({"name": "acme/ranker", "max_length": 512, "dtype": "bfloat16"})
    save(first, random_hashes(10))
    save(first, random_hashes(10, seed=1))
    save(second, random_hashes(5))
    return str(tmp_path / "store")


def test_ls_shows_a_line_per_model(folder):
    shown = command("ls", folder)
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()[1:]]
    assert lines[0][:6] == [FIRST, "acme/ranker", "512", "bfloat16", "20", "2"]
    assert lines[1][:6] == [SECOND, "?", "?", "?", "5", "1"]


def test_ls_as_json(folder):
    first, second = json.loads(command("ls", folder, "--json").stdout)
    assert first["fingerprint"] == FIRST and first["pairs"] == 20 and first["parts"] == 2
    assert first["model"]["name"] == "acme/ranker" and first["size"] > 480 and first["written"] > 1e9
    assert second["damaged"] == []


def test_ls_reports_damage(folder):
    store = ScoreStore(folder, FIRST)
    part = Path(store.folder.path) / store.parts()[0].name
    part.write_bytes(part.read_bytes()[:-9])
    shown = command("ls", folder)
    assert shown.exit_code == 0
    assert f"damaged part, its pairs will be scored again: {part}" in shown.stderr
    assert shown.stdout.splitlines()[1].split()[4:8:3] == ["10", "1"]


def test_compact_says_what_it_did(folder):
    done = command("compact", folder)
    assert done.exit_code == 0
    assert json.loads(done.stdout)[FIRST]["parts_after"] == 1
    assert f"{FIRST}: 20 pairs, 2 parts (" in done.stderr


def test_rm_deletes_one_model(folder):
    done = command("rm", folder, "--model", SECOND, "--yes")
    assert json.loads(done.stdout) == {"deleted": [SECOND], "pairs": 5}
    assert [store["fingerprint"] for store in json.loads(command("ls", folder, "--json").stdout)] == [FIRST]


def test_rm_asks(folder):
    refused = command("rm", folder, "--all", typed="n\n")
    assert refused.exit_code == 1 and "Delete 25 scores" in refused.stderr
    assert len(json.loads(command("ls", folder, "--json").stdout)) == 2
    assert command("rm", folder, "--all", typed="y\n").exit_code == 0
    assert command("ls", folder).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give either --model FINGERPRINT or --all"),
        (("--all", "--model", FIRST), "give either --model FINGERPRINT or --all"),
        (("--model", "c" * 32), f"no scores of model '{'c' * 32}', only of {FIRST}, {SECOND}"),
    ],
)
def test_rm_refuses_what_is_unclear(folder, arguments, sentence):
    refused = command("rm", folder, *arguments, "--yes")
    assert refused.exit_code == 2 and sentence in refused.stderr


@pytest.mark.parametrize("verb", [("ls",), ("compact",), ("rm", "--all", "--yes")])
def test_an_unknown_folder_is_one_sentence(tmp_path, verb):
    refused = command(*verb, str(tmp_path / "nowhere"))
    assert refused.exit_code == 2
    assert (
        refused.stderr
        == f"rerank: {tmp_path}/nowhere: no score store there (expected folders named model=FINGERPRINT)\n"
    )


def test_it_runs_as_a_module(folder):
    done = subprocess.run(
        [sys.executable, "-m", "jobs.store", "ls", folder, "--json"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(done.stdout)) == 2
