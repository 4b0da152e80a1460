import os
import subprocess
import sys

import pytest

from rerank.errors import ConfigError
from serve.errors import UnauthorizedError
from serve.keys import ApiKeys, keys_from_environment, read_keys

BODY = {"query": "q", "documents": ["a"]}


def make(file, name: str) -> str:
    command = [sys.executable, "-m", "serve.keys", str(file), name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def keys():
    return ApiKeys(fixed={"me": "secret", "you": "other"})


def test_the_file_holds_names_and_hashes_only(file):
    mine, yours = make(file, "me"), make(file, "you")
    assert mine != yours and mine not in file.read_text() and yours not in file.read_text()
    assert list(read_keys(file)) == ["me", "you"]
    keys = ApiKeys(file)
    assert (keys.check(f"Bearer {mine}"), keys.check(f"bearer {yours}")) == ("me", "you")


def test_deleting_a_line_revokes_its_key_without_a_restart(file):
    mine, yours = make(file, "me"), make(file, "you")
    keys = ApiKeys(file)
    file.write_text("".join(line for line in file.open() if not line.startswith("me")) + "# nobody else\n")
    with pytest.raises(UnauthorizedError, match="unknown or was revoked"):
        keys.check(f"Bearer {mine}")
    assert keys.check(f"Bearer {yours}") == "you"


def test_a_file_that_breaks_keeps_its_last_keys_and_one_that_goes_revokes_them(file):
    mine = make(file, "me")
    keys = ApiKeys(file)
    file.write_text("half a li")
    assert keys.check(f"Bearer {mine}") == "me"
    file.unlink()
    with pytest.raises(UnauthorizedError):
        keys.check(f"Bearer {mine}")


def test_a_file_that_cannot_be_read_stops_the_start(file):
    with pytest.raises(ConfigError, match="keys_file: cannot read"):
        ApiKeys(file)
    file.write_text("me plain-text-key\n")
    with pytest.raises(ConfigError, match=r"keys:1: a line must be 'NAME sha256:HEX'"):
        ApiKeys(file)


def test_keys_come_from_the_environment_too(monkeypatch):
    monkeypatch.setenv("RERANK_KEYS", "me=secret, you=a=b")
    assert keys_from_environment() == {"me": "secret", "you": "a=b"}
    monkeypatch.setenv("RERANK_KEYS", "secret")
    with pytest.raises(ConfigError, match="RERANK_KEYS must be name=key"):
        keys_from_environment()
    assert "RERANK_KEYS" in os.environ


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer ", "Bearer wrong", "Basic secret", "secret"])
@pytest.mark.parametrize(("path", "method"), [("/v1/rerank", "POST"), ("/v1/models", "GET"), ("/info", "GET")])
def test_without_a_known_key_nothing_is_answered(client, scorer, header, path, method):
    headers = {} if header is None else {"Authorization": header}
    answer = client(path, method, json=BODY, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "key" in answer.json()["message"]
    assert scorer.asked == []


def test_with_a_key_it_is_and_probes_need_none(client):
    assert client("/v1/rerank", json=BODY, headers={"Authorization": "Bearer secret"}).status_code == 200
    assert client("/v1/models", "GET", headers={"Authorization": "Bearer other"}).status_code == 200
    assert client("/healthz", "GET").status_code == client("/readyz", "GET").status_code == 200
