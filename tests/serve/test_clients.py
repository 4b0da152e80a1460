"""Real SDKs against the server, those that are installed here; `clients/run.py` runs all, each in its environment."""

import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
sys.path.insert(0, str(CLIENTS))

import run as client_runner  # noqa: E402
from sdk_server import running  # noqa: E402


@pytest.fixture(scope="module")
def url():
    with running() as address:
        yield address


@pytest.mark.parametrize("name", ["requests", "cohere", "mixedbread"])
def test_client(url, name):
    pytest.importorskip(name)
    command = [sys.executable, str(CLIENTS / f"with_{name}.py"), url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_an_interpreter_that_is_new_enough_is_looked_for(tmp_path, monkeypatch):
    """Python 3.99 is on no machine: the name on the path is that of a version manager, which cannot start it."""
    monkeypatch.setattr(client_runner, "NEWEST", 99)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert client_runner.find_python(0) == sys.executable
    script(tmp_path / "path" / "python3.99", "exit 1")
    assert client_runner.find_python(99) is None
    script(tmp_path / "path" / "pyenv", f"echo {tmp_path / 'pyenv'}")
    installed = script(tmp_path / "pyenv" / "versions" / "3.99.1" / "bin" / "python3.99", "exit 0")
    assert client_runner.find_python(99) == str(installed)
    found_by_uv = script(tmp_path / "elsewhere" / "python", "exit 0")
    script(tmp_path / "path" / "uv", f"echo {found_by_uv}")
    assert client_runner.find_python(99) == str(found_by_uv)


def test_a_client_without_an_interpreter_is_skipped_with_the_reason(monkeypatch, capsys):
    monkeypatch.setattr(client_runner, "find_python", lambda oldest: None)
    assert client_runner.main(["sie"]) == 0
    assert "sie-sdk==0.10.1" in (out := capsys.readouterr().out) and "skipped: it needs Python 3.12 or newer" in out
