"""Types of the fields that requests share. What a JSON schema says of them is for readers; `read` words the errors."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_TEXT: dict[str, Any] = {"type": "string", "pattern": r"\S"}
_OBJECT: dict[str, Any] = {"type": "object", "properties": {"text": _TEXT}, "required": ["text"]}


def _leave_out(value: Any) -> Any:
    if value:
        raise PydanticCustomError("unread", "must be left out: no model here reads it")
    return value


Query = Annotated[str, Field(json_schema_extra={"pattern": _TEXT["pattern"]})]
TextOrObject = Annotated[Any, WithJsonSchema({"anyOf": [_TEXT, _OBJECT]})]
Texts = Annotated[list[Any], Field(json_schema_extra={"items": _TEXT, "minItems": 1})]
Documents = Annotated[
    list[Any], Field(json_schema_extra={"items": {"anyOf": [_TEXT, {"type": "object"}]}, "minItems": 1})
]
TextsOrObjects = Annotated[list[Any], Field(json_schema_extra={"items": {"anyOf": [_TEXT, _OBJECT]}, "minItems": 1})]
Item = Annotated[dict[str, Any], WithJsonSchema(_OBJECT)]
Items = Annotated[list[dict[str, Any]], Field(json_schema_extra={"items": _OBJECT, "minItems": 1})]
OneOrMore = Annotated[
    Any, WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}, {"type": "null"}]})
]
Count = Annotated[int | None, Field(json_schema_extra={"minimum": 1})]
Unread = Annotated[
    Any, AfterValidator(_leave_out), WithJsonSchema({"type": "null", "description": "Refused: no model here reads it."})
]
"""What would change scores if a model here could read it; null, false and empty values pass."""
