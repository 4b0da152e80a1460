import os
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

import pytest

from rerank.errors import ConfigError
from serve.errors import UnauthorizedError
from serve.http.endpoint import Server
from serve.keys import ApiKeys, keys_from_environment, main, read_keys
from serve.models import Models
from tests.serve.standins import LengthScorer, calling

BODY = {"query": "q", "documents": ["a"]}


def make(file, name: str) -> str:
    command = [sys.executable, "-m", "serve.keys", str(file), name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_here(file, name: str) -> str:
    """Make a key in this process, which takes no second."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.setattr(sys, "argv", ["serve.keys", str(file), name])
        main()
    return out.getvalue().strip()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def keys():
    return ApiKeys(fixed={"me": "secret", "you": "other"})


def test_the_file_holds_names_and_hashes_only(file):
    mine, yours = make(file, "me"), make_here(file, "you")
    assert mine != yours and mine not in file.read_text() and yours not in file.read_text()
    assert list(read_keys(file).digests) == ["me", "you"]
    keys = ApiKeys(file)
    assert (keys.check(f"Bearer {mine}"), keys.check(f"bearer {yours}")) == ("me", "you")


def test_deleting_a_line_revokes_its_key_without_a_restart(file):
    mine, yours = make_here(file, "me"), make_here(file, "you")
    keys = ApiKeys(file)
    file.write_text("".join(line for line in file.open() if not line.startswith("me")) + "# nobody else\n")
    with pytest.raises(UnauthorizedError, match="unknown or was revoked"):
        keys.check(f"Bearer {mine}")
    assert keys.check(f"Bearer {yours}") == "you"


def away(file):
    file.rename(file.with_suffix(".away"))


def a_folder(file):
    away(file)
    file.mkdir()


def a_pipe(file):
    away(file)
    os.mkfifo(file)


def a_loop(file):
    away(file)
    file.symlink_to(file)


@pytest.mark.parametrize("vanish", [away, a_folder, a_pipe, a_loop])
def test_a_file_that_is_away_for_a_moment_locks_its_keys_out_for_that_moment_only(file, caplog, vanish):
    mine = make_here(file, "me")
    keys = ApiKeys(file, fixed={"you": "secret"})
    assert (keys.check(f"Bearer {mine}"), keys.file_errors) == ("me", 0)
    vanish(file)
    for _ in range(3):
        with pytest.raises(UnauthorizedError):
            keys.check(f"Bearer {mine}")
    assert (keys.check("Bearer secret"), keys.file_errors) == ("you", 1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]  # once, not for each request
    if file.is_dir():
        file.rmdir()
    file.with_suffix(".away").rename(file)
    assert (keys.check(f"Bearer {mine}"), keys.file_errors) == ("me", 0)


BROKEN = {
    "half a line": b"you sha256:12",
    "a plain-text key": b"you rk-secret",
    "a digest in capitals": b"you sha256:" + b"A" * 64,
    "Latin-1": "jos\xe9 sha256:".encode("latin-1") + b"0" * 64,
    "zeros": b"\0" * 100,
    "UTF-16": "you sha256:".encode("utf-16"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_of_a_damaged_file_the_valid_lines_count_and_what_was_deleted_is_gone(file, caplog, broken):
    mine, gone = make_here(file, "me"), make_here(file, "gone")
    keys = ApiKeys(file)
    keys.check(f"Bearer {gone}")
    valid = next(line for line in file.read_bytes().splitlines() if line.startswith(b"me"))
    file.write_bytes(b"# comment\n" + broken + b"\n" + valid)
    assert keys.check(f"Bearer {mine}") == "me"
    with pytest.raises(UnauthorizedError, match="unknown or was revoked"):
        keys.check(f"Bearer {gone}")
    assert keys.file_errors == 1
    (record,) = caplog.records
    assert f"{file}:2 is ignored" in record.getMessage() and "secret" not in record.getMessage()
    file.write_bytes(valid)
    assert (keys.check(f"Bearer {mine}"), keys.file_errors) == ("me", 0)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "cp1252"])
def test_a_comment_may_be_in_any_encoding(file, encoding):
    mine = make_here(file, "me")
    keys = ApiKeys(file)
    file.write_bytes("# Schl\xfcssel f\xfcr B\xe4cker\r\n".encode(encoding) + file.read_bytes())
    assert (keys.check(f"Bearer {mine}"), keys.file_errors) == ("me", 0)


def test_a_byte_order_mark_is_no_part_of_the_first_name(file):
    mine = make_here(file, "me")
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert ApiKeys(file).check(f"Bearer {mine}") == "me"


def test_another_file_of_the_same_size_and_time_is_read(file, tmp_path):
    old, other = make_here(file, "me"), tmp_path / "other"
    new = make_here(other, "me")
    keys, status = ApiKeys(file), file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    assert keys.check(f"Bearer {new}") == "me"
    with pytest.raises(UnauthorizedError):
        keys.check(f"Bearer {old}")


def test_of_many_invalid_lines_some_are_logged_and_all_are_counted(file, caplog):
    make_here(file, "me")
    file.write_text(file.read_text() + "what\n" * 1_000)
    assert ApiKeys(file).file_errors == 1_000
    assert len(caplog.records) < 20 and "besides these: 990" in caplog.text


def test_a_key_is_not_added_to_a_line_that_was_cut_off(file):
    mine = make_here(file, "me")
    file.write_text(file.read_text().strip())
    yours = make_here(file, "you")
    assert [ApiKeys(file).check(f"Bearer {key}") for key in (mine, yours)] == ["me", "you"]


def test_the_metrics_tell_of_a_damaged_file(file):
    mine = make_here(file, "me")
    call = calling(Server(Models({"length": LengthScorer()}), api_keys=ApiKeys(file)))

    def metric() -> str:
        text = call("/metrics", "GET", headers={"Authorization": f"Bearer {mine}"}).text
        return next(line for line in text.splitlines() if line.startswith("rerank_keys_file_errors"))

    assert metric() == "rerank_keys_file_errors 0.0"
    file.write_text(file.read_text() + "one\ntwo\n")
    assert metric() == "rerank_keys_file_errors 2.0"


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


def test_who_has_no_key_yet_may_ask_whether_one_is_needed(client):
    assert client("/v1/cluster/auth", "GET").json() == {"auth": True}
    assert client("/v1/models/length", "GET").status_code == client("/weaviate/meta", "GET").status_code == 401
    assert client("/weaviate/.well-known/ready", "GET").status_code == 204
