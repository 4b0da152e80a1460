"""`--config FILE`: options of a command in a YAML file, named as the flags are. A flag on the command line wins."""

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
import yaml

from jobs.exits import exit_codes
from rerank.errors import ConfigError

STAGES = "stages"  # not a flag: a list with the settings of each stage of a cascade
PASSAGES = "passages"  # the settings of passages together, as a served model has them
_PASSAGE_FLAGS = {
    "tokens": "passage_tokens",
    "overlap": "passage_overlap",
    "aggregate": "passage_aggregate",
    "max_passages": "max_passages",
}
_NOT_IN_FILE = frozenset({"config", "stage", "help"})


class _Loader(yaml.SafeLoader):
    """Reads `1:4` as a text. YAML 1.1 has numbers to the base of 60, and would make 64 of it."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in PyYAML
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:int"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))


def read_config(context: typer.Context, path: str | None) -> str | None:
    """Make the options in a YAML file the defaults of the command; the callback of its eager option `--config`.

    `stages` is left in `context.obj`. A file that cannot be used ends the command with a sentence.
    """
    if path is None or context.resilient_parsing:
        return path
    with exit_codes():
        values = _with_passage_flags(path, _read(path))
        context.obj = {STAGES: values.pop(STAGES, None)}
        parameters = (each for each in context.command.params if each.param_type_name == "option")
        names = [str(each.name) for each in parameters if each.name not in _NOT_IN_FILE]
        context.default_map = {_name(path, key, names): _flag(value) for key, value in values.items()}
    return path


def _read(path: str) -> dict[str, Any]:
    try:
        values = yaml.load(Path(path).read_text(), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ConfigError(f"{path}: cannot be read as YAML: {problem}") from problem
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a mapping of options to values, got {values!r}")
    return values


def _with_passage_flags(path: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with those of `passages` under the names of their flags. Raises ConfigError."""
    passages = values.pop(PASSAGES, {})
    if not isinstance(passages, dict):
        raise ConfigError(f"{path}: {PASSAGES} must be a mapping such as {{tokens: 256}}, got {passages!r}")
    for key, value in passages.items():
        if key not in _PASSAGE_FLAGS:
            raise ConfigError(f"{path}: unknown option {key!r} of {PASSAGES}: accepted are {', '.join(_PASSAGE_FLAGS)}")
        values[_PASSAGE_FLAGS[key]] = value
    return values


def _name(path: str, key: Any, names: list[str]) -> str:
    """Return the name of the parameter for a key such as top_k or top-k. Raises ConfigError for an unknown one."""
    name = str(key).replace("-", "_")
    if name not in names:
        near = get_close_matches(name, [*names, STAGES], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"accepted are {', '.join([*names, STAGES])}"
        raise ConfigError(f"{path}: unknown option {key!r}: {hint}")
    return name


def _flag(value: Any) -> Any:
    """Return the value as a flag has it: a mapping becomes JSON."""
    return json.dumps(value) if isinstance(value, dict) else value
