"""What is checked of a command without running it: that it exists, and knows the options that it is given."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import takewhile
from typing import Any

import typer
from ray._private.authentication.authentication_token_setup import AUTH_MODE_ENV_VAR
from ray.scripts.scripts import cli as ray_cli
from ray.serve.scripts import cli as serve_cli
from typer.main import get_command

from jobs.cli import app
from serve.telemetry.tracing import ENDPOINTS
from tests.docs.pages import ROOT, split

RERANK: Any = get_command(app)
_PLACEHOLDER = re.compile(r"[A-Z]{2,}(:\d+)?")


def is_runnable(words: Sequence[str]) -> bool:
    """Whether a test can run this `rerank` command: all that it names is there, and it takes no minutes."""
    named = any("://" in word or _PLACEHOLDER.fullmatch(word) or word.startswith(("BAAI/", "demo/")) for word in words)
    return not named and words[1] not in ("bench", "demo")


def check(words: Sequence[str]) -> None:
    """Fail where a command or an option does not exist, or where no rule covers the command."""
    while words and re.fullmatch(r"[A-Z]\w*=\S*", words[0]):
        _check_variable(words[0])
        words = words[1:]
    words = list(takewhile(lambda word: word != ">", words))
    match words:
        case ["rerank" | ".venv/bin/rerank", *rest]:
            _parse(RERANK, rest)
        case ["python", "-m", "jobs.run", *rest]:
            _parse(RERANK, ["run", *rest])
        case ["python", "-m", module, *_]:
            assert find_spec(module), f"no module {module}"
        case [".venv/bin/python", file, *_]:
            assert (ROOT / file).exists(), f"no file {file}"
        case ["ray", *rest]:
            _check_ray(rest)
        case ["serve", *rest]:
            _parse(serve_cli, rest)
            for application in rest[1:2]:
                assert application.endswith(".app:build") or (ROOT / application).exists(), f"no {application}"
        case ["make", *targets]:
            known = re.findall(r"^([\w-]+)(?::| *\?=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {target.partition("=")[0] for target in targets} <= set(known), f"make knows {known}"
        case ["docker", "run", *rest]:
            image = rest.index(next(word for word in rest if re.fullmatch(r"rerank:[\d.]+-(cpu|gpu)", word)))
            if command := rest[image + 1 :]:
                check(command)
        case ["export", assignment]:
            _check_variable(assignment)
        case ["pip", "install", "-c", file, "."] | ["kubectl", "apply", "-f", file] | ["python", file, *_]:
            assert (ROOT / file).exists(), f"no file {file}"
        case ["pip", "install", "-c", "constraints.txt", extra]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert extra in {f".[{name}]" for name in extras}, f"no extra {extra}"
        case ["promtool", "check", "config", file] | ["promtool", "test", "rules", file]:
            assert (ROOT / file).exists(), f"no file {file}"
        case ["prometheus", option]:
            assert (ROOT / option.removeprefix("--config.file=")).exists(), f"no file {option}"
        case ["kubectl", "create", "secret", "generic", name, _]:
            assert f"secretName: {name}" in (ROOT / "serve/rayservice.yaml").read_text()
        case ["source", ".venv/bin/activate"]:
            assert "VENV   ?= .venv" in (ROOT / "Makefile").read_text()
        case _:
            raise AssertionError(f"no rule covers {' '.join(words)}")


def check_span(span: str) -> None:
    """Check code in running text where it is a command or an option of ours."""
    if span.startswith("--"):
        option = span.split()[0]
        assert option in set(_options(RERANK)), f"no command has {option}"
    elif re.match(r"(rerank|make|serve run|python -m|ray|source|pip) \w", span):
        words = split(span)
        assert words, f"a quote is open in {span}"
        if not _is_name(words):
            check(words)


def _is_name(words: list[str]) -> bool:
    """Whether these are a command's name alone, such as `rerank run`."""
    roots = {"rerank": RERANK, "ray": ray_cli}
    return words[0] in roots and not _inner(roots[words[0]], words[1:])[1]


def _check_ray(words: list[str]) -> None:
    _parse(ray_cli, words)
    if words[:2] == ["job", "submit"]:
        check(words[words.index("--") + 1 :])
    if words[0] == "up":
        assert (ROOT / words[1]).exists(), f"no file {words[1]}"


def _check_variable(assignment: str) -> None:
    name = assignment.partition("=")[0]
    known = (ROOT / "serve/rayservice.yaml").read_text()
    assert name in (AUTH_MODE_ENV_VAR, *ENDPOINTS) or name in known, f"nobody reads {name}"


def _parse(command: Any, words: list[str]) -> None:
    """Let click or typer read the words; it raises where it does not know them."""
    command, words = _inner(command, words)
    try:
        command.make_context("", list(words))
    except typer.Exit:  # --help
        return
    assert not hasattr(command, "commands"), f"no such command: {' '.join(words)}"


def _inner(command: Any, words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words name, and the words after them."""
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def _options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for inner in getattr(command, "commands", {}).values():
        yield from _options(inner)


def drawn_rooms(plan: str) -> dict[str, list[list[str]]]:
    """The floors of each house in the plan that the page on architecture draws, lowest first."""
    houses = {}
    for drawing in plan.split("\n\n"):
        name, *floors = drawing.splitlines()
        houses[name.partition("/")[0]] = [floor.split() for floor in reversed(floors)]
    return houses
