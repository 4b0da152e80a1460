"""Reading request bodies: pydantic checks the fields, this module checks the texts, and every error names its field."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rerank.errors import InputError
from rerank.types import CheckedTexts
from serve.errors import LimitError
from serve.wires.fields import Refused

Body = TypeVar("Body", bound=BaseModel)

_ECHO_LEVELS = 64
_REPEATED_NAMES = 100  # per document

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "none_required": "null",
}


def read_body(kind: type[Body], body: Mapping[str, Any]) -> Body:
    """Return the body as a `kind`, without unknown fields. Raises InputError for the first invalid field."""
    try:
        return kind.model_validate(body)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False)[0]
        name = ".".join(str(part) for part in error["loc"])
        if error["type"] == "missing":
            raise InputError(f"{name} is missing") from None
        expected = _EXPECTED.get(error["type"]) or _choices(error)
        requirement = f"must be {expected}" if expected else error["msg"][:1].lower() + error["msg"][1:]
        raise InputError(f"{name} {requirement}, got {shown(error['input'])}") from None


def _choices(error: Any) -> str | None:
    """Return the accepted values of an enumerated field, spelled as in JSON; None for another error."""
    if error["type"] != "literal_error":
        return None
    return str(error["ctx"]["expected"]).replace("None", "null")


def refusal_without_passages(kind: type[BaseModel], values: Mapping[str, Any]) -> str | None:
    """Return why a model that does not split documents into passages must refuse a body; None if it need not."""
    for name, field in kind.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, Refused) and mark.needs_passages and not mark.accepts(values.get(name)):
                return f"{name} must be {mark.accepted}: {mark.reason}, got {shown(values[name])}"
    return None


def check_counts(kind: type[BaseModel], body: Mapping[str, Any], *, most: int, within: str = "") -> None:
    """Check the lists in a body before anything else is read. Raises LimitError for one with more than `most` entries.

    `rank_fields` may repeat names and is checked against more. `within` is what the names of the body's fields start
    with in messages: the fields of an object in the body are checked, too.
    """
    for name, value in body.items():
        if (declared := kind.model_fields.get(name)) is None:
            continue
        limit = most * _REPEATED_NAMES if name == "rank_fields" else most
        if isinstance(value, list) and len(value) > limit:
            raise LimitError(f"{within}{name} must hold at most {limit} entries, got {len(value)}")
        inner = declared.annotation
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, BaseModel):
            check_counts(inner, value, most=most, within=f"{within}{name}.")


def read_texts(
    values: Sequence[Any],
    field: str,
    *,
    text_fields: Sequence[str] = ("text",),
    numbered: bool = True,
    may_be_blank: bool = False,
) -> CheckedTexts:
    """Return the text of each value: a string, or an object whose `text_fields` are joined with newlines.

    Without `text_fields`, objects are refused. Raises InputError with the field's name and, if `numbered`, the index of
    the value in it; for a blank text, too, unless texts `may_be_blank`.
    """
    names = (f"{field}[{index}]" if numbered else field for index in range(len(values)))
    return CheckedTexts(
        _read_text(value, name, text_fields, may_be_blank=may_be_blank)
        for value, name in zip(values, names, strict=True)
    )


def _read_text(value: Any, name: str, text_fields: Sequence[str], *, may_be_blank: bool) -> str:
    text = value if isinstance(value, str) else _joined(value, name, text_fields)
    if not may_be_blank and not text.strip():
        raise InputError(f"{name} must hold text, got a blank one")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"{name} must be valid Unicode, got {shown(text)}") from None
    return text


def read_instruction(**fields: str | None) -> str | None:
    """Return the instruction in the fields of these names, None if they are left out or blank.

    Raises InputError if one of them is not valid Unicode, or if two differ.
    """
    values = {name: value for name, value in fields.items() if value and value.strip()}
    if len(set(values.values())) > 1:
        raise InputError(f"{' and '.join(values)} must be equal, or one of them left out")
    return next((_read_text(value, name, (), may_be_blank=True) for name, value in values.items()), None)


def text_fields_of(rank_fields: list[str] | None) -> Sequence[str]:
    """Return the fields of a document object that are its text, each once. Raises InputError."""
    if rank_fields == []:
        raise InputError("rank_fields must name at least one field, got an empty list")
    return tuple(dict.fromkeys(rank_fields or ("text",)))


def refuse_fields(values: Sequence[Any], field: str, unread: Sequence[str], *, numbered: bool = True) -> None:
    """Refuse objects with fields that no model here reads, such as images. Raises InputError."""
    for index, value in enumerate(values):
        for inner in unread:
            if isinstance(value, Mapping) and value.get(inner) is not None:
                name = f"{field}[{index}]" if numbered else field
                raise InputError(f"{name}.{inner} must be left out: no model here reads it")


def _joined(value: Any, name: str, text_fields: Sequence[str]) -> str:
    if not text_fields or not isinstance(value, Mapping):
        accepted = f"a string or an object with {' and '.join(text_fields)}" if text_fields else "a string"
        raise InputError(f"{name} must be {accepted}, got {shown(value)}")
    for field in text_fields:
        if not isinstance(value.get(field), str):
            raise InputError(f"{name}.{field} must be a string, got {shown(value.get(field))}")
    return "\n".join(value[field] for field in text_fields)


def check_echo(values: Sequence[Any], field: str) -> None:
    """Refuse values that are nested too deeply to be returned. Raises InputError with the index of the value."""
    for index, value in enumerate(values):
        if _nests_deeper(value, _ECHO_LEVELS):
            raise InputError(f"{field}[{index}] must be nested at most {_ECHO_LEVELS} levels deep to be returned")


def _nests_deeper(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return bool(children) and (levels == 0 or any(_nests_deeper(child, levels - 1) for child in children))


def check_count(value: int | None, field: str, *, least: int = 1) -> int | None:
    """Return a count, or None (no limit) for null and for 0. Raises InputError for a value below `least`."""
    return check_least(value, field, least) or None


def check_least(value: int | None, field: str, least: int) -> int | None:
    """Return a number or None. Raises InputError for a value below `least`."""
    if value is not None and value < least:
        raise InputError(f"{field} must be at least {least}, got {shown(value)}")
    return value


def shown(value: Any) -> str:
    """Return a value as an error message quotes it: short, and spelled as in JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "an empty list" if not value else f"a list of {len(value)} {'value' if len(value) == 1 else 'values'}"
    text = repr(value[:40] if isinstance(value, str) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."
