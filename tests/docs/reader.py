"""Somebody who reads a page from top to bottom and does all that it says: one method for each kind of block."""

import doctest
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from jobs.pipeline.stages.settings import parse_stages
from serve.settings import parse_settings
from tests.docs.pages import ROOT, Block, Command, commands, split
from tests.docs.rules import check, drawn_rooms, is_runnable
from tests.test_floors import HOUSE

_DOCUMENTED_SERVER = "localhost:8000"
_EVERY_NIGHT = "30 2 * * * "


class Reader:
    """What a reader has: a folder with files, the `rerank` command, a server, and Python's names and last output."""

    def __init__(self, folder: Path, rerank: Callable[[tuple[str, ...]], str], server: Callable[[], str]) -> None:
        self._folder, self._rerank, self._server = folder, rerank, server
        self._names: dict[str, Any] = {"BashOperator": _airflow_operator}
        self._printed = ""

    def console(self, block: Block) -> None:
        """Run a command where that is possible, else check it; it must print what the page shows."""
        for command in commands(block):
            if command.words[0] == "curl":
                self._curl(command)
                continue
            check(command.words)
            printed = ""
            if command.words[0] == "rerank" and is_runnable(command.words):
                printed = self._rerank(command.words)
            elif command.words[:3] == ("python", "-m", "serve.keys"):
                printed = self._make_key(command.words)
            assert command.output in printed, f"{block.place}: {command.text} prints {printed}"

    def python(self, block: Block) -> None:
        """Run it after the Python above it on the page."""
        source = block.text
        if _DOCUMENTED_SERVER in source:
            source = source.replace(f"http://{_DOCUMENTED_SERVER}", self._server())
        with redirect_stdout(StringIO()) as output:
            exec(compile(source, block.place, "exec"), self._names)
        self._printed = output.getvalue()

    def pycon(self, block: Block) -> None:
        """Run it as an interpreter session: every line must give what the page shows."""
        session = doctest.DocTestParser().get_doctest(block.text, {}, block.place, block.place, 0)
        differences: list[str] = []
        outcome = doctest.DocTestRunner(verbose=False).run(session, out=differences.append)
        assert outcome.attempted
        assert not differences, "".join(differences)

    def text(self, block: Block) -> None:
        """Compare the plan of the house, check a line of cron, else compare with what the Python above printed."""
        if block.place.startswith("architecture.md"):
            assert drawn_rooms(block.text) == HOUSE
        elif block.text.startswith(_EVERY_NIGHT):
            check(split(block.text.removeprefix(_EVERY_NIGHT)) or [])
        else:
            assert block.text == self._printed, block.place

    def yaml(self, block: Block) -> None:
        """Check it as `serve run` and the application do, or as `rerank run --config` does."""
        settings = yaml.safe_load(block.text)
        if "stages" in settings:
            assert parse_stages(settings["stages"], defaults={})
            return
        ServeDeploySchema.model_validate(settings)
        for application in settings["applications"]:
            parse_settings(application["args"])

    def _make_key(self, words: tuple[str, ...]) -> str:
        (self._folder / words[3]).unlink(missing_ok=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, *words[1:]]
        return subprocess.run(
            command, cwd=self._folder, env=environment, check=True, capture_output=True, text=True
        ).stdout

    def _curl(self, command: Command) -> None:
        """Send what curl would send; the page shows the answer, but for ids and the last bits."""
        url, headers, body = "", {}, None
        words = iter(command.words[1:])
        for word in words:
            if word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = next(words)
            elif word != "-s":
                assert word.startswith(_DOCUMENTED_SERVER), f"no rule covers {word} of curl"
                url = self._server() + word.removeprefix(_DOCUMENTED_SERVER)
        response = httpx.request("POST" if body else "GET", url, content=body, headers=headers, timeout=60)
        assert response.is_success or command.output, response.text
        if command.output:
            assert_equal(response.json(), json.loads(command.output))


def assert_equal(answer: Any, shown: Any) -> None:
    """Compare JSON values; an `id` may be any, and scores depend on the precision of the machine."""
    if isinstance(shown, dict):
        assert answer.keys() == shown.keys()
        for name in shown.keys() - {"id"}:
            assert_equal(answer[name], shown[name])
    elif isinstance(shown, list):
        assert len(answer) == len(shown)
        for value, expected in zip(answer, shown, strict=True):
            assert_equal(value, expected)
    else:
        assert answer == (pytest.approx(shown, abs=0.02) if isinstance(shown, float) else shown)


def _airflow_operator(*, bash_command: str, env: dict[str, str], **_: Any) -> None:
    """Stand in for Airflow's operator: check its command, with the day filled in."""
    day = bash_command.replace("{{ ds }}", "2026-11-29")
    check([*(f"{name}={value}" for name, value in env.items()), *(split(day) or [])])
