"""Everything that a reader would copy from the pages runs, or is checked against the commands that exist."""

import ast
import doctest
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema
from typer.testing import CliRunner

from jobs.cli import app
from serve.settings import parse_settings
from tests.docs.pages import PAGES, ROOT, Block, Command, blocks, commands, inline_code, links, split
from tests.docs.rules import check, check_span, drawn_rooms, is_plan, is_runnable
from tests.test_floors import HOUSE

DOCUMENTED_SERVER = "localhost:8000"


@pytest.fixture(scope="session")
def run_rerank(cluster: str, workspace: Path) -> Callable[[tuple[str, ...]], str]:
    """Runs a `rerank` command in the reader's folder, once for all pages that show it; gives what it printed."""

    @cache
    def run(words: tuple[str, ...]) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(workspace)
            patch.setenv("RAY_ADDRESS", cluster)
            result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{' '.join(words)}: {result.stderr} {result.exception!r}"
        return result.stdout

    return run


@pytest.fixture
def at_reader(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder as the working directory."""
    monkeypatch.chdir(workspace)
    return workspace


def of_language(*languages: str) -> list[Any]:
    found = [(page, block) for page in PAGES for block in blocks(page) if block.language in languages]
    return [pytest.param(page, block, id=block.place) for page, block in found]


@pytest.mark.ray
@pytest.mark.parametrize(("page", "block"), of_language("console"))
def test_console_block(page: Path, block: Block, at_reader: Path, request: pytest.FixtureRequest) -> None:
    for command in commands(block):
        if command.words[0] == "curl":
            assert_answers(command, request.getfixturevalue("server"))
            continue
        check(command.words)
        printed = ""
        if command.words[0] == "rerank" and is_runnable(command.words):
            printed = request.getfixturevalue("run_rerank")(command.words)
        elif command.words[:3] == ("python", "-m", "serve.keys"):
            printed = run_keys(command.words, at_reader)
        assert command.output in printed, f"{block.place}: {command.text} prints {printed}"


def run_keys(words: tuple[str, ...], folder: Path) -> str:
    (folder / words[3]).unlink(missing_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def assert_answers(command: Command, server: str) -> None:
    """Send what curl would send; what the page shows must be in the answer, but for ids and the last bits."""
    url, headers, body = "", {}, None
    words = iter(command.words[1:])
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words)
        elif word != "-s":
            assert word.startswith(DOCUMENTED_SERVER), f"no rule covers {word} of curl"
            url = server + word.removeprefix(DOCUMENTED_SERVER)
    response = httpx.request("POST" if body else "GET", url, content=body, headers=headers, timeout=60)
    assert response.status_code < 500
    assert response.is_success or command.output, response.text
    if command.output:
        assert_contains(response.json(), json.loads(command.output))


def assert_contains(answer: Any, shown: Any) -> None:
    if isinstance(shown, dict):
        for name in shown.keys() - {"id"}:
            assert_contains(answer[name], shown[name])
    elif isinstance(shown, list):
        assert len(answer) == len(shown)
        for found, expected in zip(answer, shown, strict=True):
            assert_contains(found, expected)
    else:
        assert answer == (pytest.approx(shown, abs=0.02) if isinstance(shown, float) else shown)


@pytest.mark.ray
@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_python_and_text_blocks(page: Path, at_reader: Path, request: pytest.FixtureRequest) -> None:
    """A page's Python runs as one program, after its commands; a text block is what the block before it printed."""
    names: dict[str, Any] = {"BashOperator": airflow_operator}
    printed = ""
    for block in blocks(page):
        if block.language == "console" and page.name == "getting-started.md":
            for command in commands(block):
                if command.words[0] == "rerank" and is_runnable(command.words):
                    request.getfixturevalue("run_rerank")(command.words)
        elif block.language == "python":
            source = block.text
            if DOCUMENTED_SERVER in source:
                source = source.replace(f"http://{DOCUMENTED_SERVER}", request.getfixturevalue("server"))
            with redirect_stdout(StringIO()) as output:
                exec(compile(ast.parse(source), block.place, "exec"), names)
            printed = output.getvalue()
        elif block.language == "text" and is_plan(page, block.text):
            assert drawn_rooms(block.text) == HOUSE
        elif block.language == "text" and block.text.startswith("30 2 * * * "):
            check(split(block.text.removeprefix("30 2 * * * ")) or [])
        elif block.language == "text":
            assert block.text == printed, block.place


def airflow_operator(*, bash_command: str, env: dict[str, str], **_: Any) -> None:
    """Stands in for Airflow's: checks its command, with the day filled in."""
    day = bash_command.replace("{{ ds }}", "2026-11-29")
    check([*(f"{name}={value}" for name, value in env.items()), *(split(day) or [])])


@pytest.mark.parametrize(("page", "block"), of_language("pycon"))
def test_interpreter_session(page: Path, block: Block) -> None:
    session = doctest.DocTestParser().get_doctest(block.text, {}, block.place, page.name, 0)
    with redirect_stdout(StringIO()) as said:
        failed, tried = doctest.DocTestRunner().run(session, out=said.write)
    assert tried
    assert not failed, said.getvalue()


@pytest.mark.parametrize(("page", "block"), of_language("yaml"))
def test_yaml_block(page: Path, block: Block) -> None:
    settings = yaml.safe_load(block.text)
    ServeDeploySchema.model_validate(settings)
    for application in settings["applications"]:
        parse_settings(application["args"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_is_tested(page: Path) -> None:
    unknown = [block for block in blocks(page) if block.language not in {"console", "python", "pycon", "text", "yaml"}]
    assert not unknown
    assert page.read_text().count("```") == 2 * len(blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_running_text_exist(page: Path) -> None:
    for span in inline_code(page):
        check_span(span)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert not [target for target in links(page) if not (page.parent / target).exists()]


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    for picture in (ROOT / "docs/images").iterdir():
        assert picture.stat().st_size < 300_000
