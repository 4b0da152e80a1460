"""Field types that several protocols share. Their JSON schemas are for the OpenAPI page."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_TEXT: dict[str, Any] = {"type": "string", "pattern": r"\S"}
_OBJECT: dict[str, Any] = {"type": "object", "properties": {"text": _TEXT}, "required": ["text"]}
_DOCUMENT: dict[str, Any] = {"type": "string"}  # blank ones come last
_DOCUMENT_OBJECT: dict[str, Any] = {"type": "object", "properties": {"text": _DOCUMENT}, "required": ["text"]}


@dataclass(frozen=True, slots=True)
class Refused:
    """Marks an option that is refused because the server cannot honour it; `reason` completes the error message.

    These values are accepted all the same:

    - null, false, an empty text, list or object
    - `neutral`: values that ask for what the server does anyway
    - `client_defaults`: values that a client sends by itself

    If it `needs_passages`, a model that scores long documents passage by passage can honour it. Then the body is read
    with any value, and `refusal_without_passages` says whether another model has to refuse it.
    """

    reason: str
    neutral: tuple[Any, ...] = ()
    client_defaults: tuple[Any, ...] = ()
    needs_passages: bool = False

    @property
    def accepted(self) -> str:
        """The values that the error message and the OpenAPI page name."""
        return " or ".join(filter(None, [", ".join(map(json.dumps, self.neutral)), "left out"]))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": [None, *self.neutral], "description": f"Must be {self.accepted}: {self.reason}."}

    def accepts(self, value: Any) -> bool:
        """Return whether a value asks for nothing that the server cannot honour."""
        asks_for_nothing = value is None or value is False or value in ("", [], {})
        accepted = (*self.neutral, *self.client_defaults)
        return asks_for_nothing or (value in accepted and value is not True)  # which equals 1

    def _check(self, value: Any) -> Any:
        if self.needs_passages or self.accepts(value):
            return value
        raise PydanticCustomError(
            "refused", "must be {accepted}: {reason}", {"accepted": self.accepted, "reason": self.reason}
        )


@dataclass(frozen=True, slots=True)
class Informational:
    """Marks a field that is accepted with any value because it asks for nothing that could change the response."""


def _refuse_bool(value: Any) -> Any:
    if isinstance(value, bool):  # a Python integer, and to pydantic 0 or 1
        raise PydanticCustomError("int_type", "must be an integer")
    return value


Integer = Annotated[int, BeforeValidator(_refuse_bool)]
Query = Annotated[str, Field(json_schema_extra={"pattern": _TEXT["pattern"]})]
TextOrObject = Annotated[Any, WithJsonSchema({"anyOf": [_TEXT, _OBJECT]})]
Texts = Annotated[list[Any], Field(json_schema_extra={"items": _DOCUMENT, "minItems": 1})]
Documents = Annotated[
    list[Any], Field(json_schema_extra={"items": {"anyOf": [_DOCUMENT, {"type": "object"}]}, "minItems": 1})
]
TextsOrObjects = Annotated[
    list[Any], Field(json_schema_extra={"items": {"anyOf": [_DOCUMENT, _DOCUMENT_OBJECT]}, "minItems": 1})
]
Item = Annotated[dict[str, Any], WithJsonSchema(_OBJECT)]
Items = Annotated[list[dict[str, Any]], Field(json_schema_extra={"items": _OBJECT, "minItems": 1})]
ScoredItems = Annotated[list[dict[str, Any]], Field(json_schema_extra={"items": _DOCUMENT_OBJECT, "minItems": 1})]
OneOrMore = Annotated[
    Any, WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}, {"type": "null"}]})
]
OneOrMoreDocuments = Annotated[
    Any, WithJsonSchema({"anyOf": [_DOCUMENT, {"type": "array", "items": _DOCUMENT, "minItems": 1}, {"type": "null"}]})
]
Count = Annotated[Integer | None, Field(json_schema_extra={"minimum": 1})]
Instruction = Annotated[
    str | None, Field(description="What makes a document relevant, for the model to read. A blank one is none.")
]
Unread = Annotated[Any, Refused("no model here reads it")]
Label = Annotated[Any, Informational(), Field(description="Accepted, and changes nothing.")]
