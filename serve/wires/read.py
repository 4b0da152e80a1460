"""Reading bodies: fields checked by pydantic, texts by hand, every complaint naming its field."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rerank.errors import InputError

Body = TypeVar("Body", bound=BaseModel)

_ECHO_LEVELS = 64

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
}


def read_body(kind: type[Body], body: Mapping[str, Any]) -> Body:
    """The body as the wire's own model; unknown fields pass. Raises InputError for the first bad field."""
    try:
        return kind.model_validate(body)
    except ValidationError as problem:
        error = problem.errors(include_url=False)[0]
        name = ".".join(str(part) for part in error["loc"])
        if error["type"] == "missing":
            raise InputError(f"{name} is missing") from None
        expected = _EXPECTED.get(error["type"]) or _choices(error)
        what = f"must be {expected}" if expected else error["msg"][:1].lower() + error["msg"][1:]
        raise InputError(f"{name} {what}, got {shown(error['input'])}") from None


def _choices(error: Any) -> str | None:
    """The values of a field that takes only some, in JSON's words."""
    if error["type"] != "literal_error":
        return None
    return str(error["ctx"]["expected"]).replace("None", "null")


def read_texts(
    values: Sequence[Any], field: str, *, keys: Sequence[str] = ("text",), numbered: bool = True
) -> tuple[str, ...]:
    """The text of each value: a string, or an object whose `keys` are joined with newlines (no keys: no objects).

    Raises InputError with the field's name and, where `numbered`, the value's place in it.
    """
    return tuple(
        _read_text(value, f"{field}[{index}]" if numbered else field, keys) for index, value in enumerate(values)
    )


def _read_text(value: Any, name: str, keys: Sequence[str]) -> str:
    text = value if isinstance(value, str) else _joined(value, name, keys)
    if not text.strip():
        raise InputError(f"{name} must hold text, got a blank one")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} must be valid Unicode, got {shown(text)}") from None
    return text


def text_keys(rank_fields: list[str] | None) -> Sequence[str]:
    """Which fields of a document object are its text. Raises InputError."""
    if rank_fields == []:
        raise InputError("rank_fields must name at least one field, got an empty list")
    return rank_fields or ("text",)


def refuse_keys(values: Sequence[Any], field: str, keys: Sequence[str], *, numbered: bool = True) -> None:
    """Refuse objects that bring what no model here reads, like images. Raises InputError with the value's place."""
    for index, value in enumerate(values):
        for key in keys:
            if isinstance(value, Mapping) and value.get(key) is not None:
                name = f"{field}[{index}]" if numbered else field
                raise InputError(f"{name}.{key} must be left out: no model here reads it")


def _joined(value: Any, name: str, keys: Sequence[str]) -> str:
    if not keys or not isinstance(value, Mapping):
        accepted = f"a string or an object with {' and '.join(keys)}" if keys else "a string"
        raise InputError(f"{name} must be {accepted}, got {shown(value)}")
    for key in keys:
        if not isinstance(value.get(key), str):
            raise InputError(f"{name}.{key} must be a string, got {shown(value.get(key))}")
    return "\n".join(value[key] for key in keys)


def check_echo(values: Sequence[Any], field: str) -> None:
    """Refuse values that nest so deeply that writing them back could fail. Raises InputError with the value's place."""
    for index, value in enumerate(values):
        if _nests_deeper(value, _ECHO_LEVELS):
            raise InputError(f"{field}[{index}] must be nested at most {_ECHO_LEVELS} levels deep to be returned")


def _nests_deeper(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return bool(children) and (levels == 0 or any(_nests_deeper(child, levels - 1) for child in children))


def check_top(value: int | None, field: str, *, least: int = 1) -> int | None:
    """A number of results; 0 means all of them where the wire allows it. Raises InputError."""
    if value is not None and value < least:
        raise InputError(f"{field} must be at least {least}, got {shown(value)}")
    return value or None


def shown(value: Any) -> str:
    """A value as an error message quotes it: short, in JSON's words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "an empty list" if not value else f"a list of {len(value)} {'value' if len(value) == 1 else 'values'}"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
