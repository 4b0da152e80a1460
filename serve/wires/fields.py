"""Field types that several protocols share. Their JSON schemas are for the OpenAPI page."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_TEXT: dict[str, Any] = {"type": "string", "pattern": r"\S"}
_OBJECT: dict[str, Any] = {"type": "object", "properties": {"text": _TEXT}, "required": ["text"]}


@dataclass(frozen=True, slots=True)
class Refused:
    """Marks an option that is refused because the server cannot honour it; `reason` completes the error message.

    These values are accepted all the same:

    - null, false, an empty text, list or object
    - `neutral`: values that ask for what the server does anyway
    - `client_defaults`: values that a client sends by itself
    """

    reason: str
    neutral: tuple[Any, ...] = ()
    client_defaults: tuple[Any, ...] = ()

    @property
    def accepted(self) -> str:
        """The values that the error message and the OpenAPI page name."""
        return " or ".join(filter(None, [", ".join(map(json.dumps, self.neutral)), "left out"]))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": [None, *self.neutral], "description": f"Must be {self.accepted}: {self.reason}."}

    def _check(self, value: Any) -> Any:
        asks_for_nothing = value is None or value is False or value in ("", [], {})
        if asks_for_nothing or value in self.neutral or value in self.client_defaults:
            return value
        raise PydanticCustomError(
            "refused", "must be {accepted}: {reason}", {"accepted": self.accepted, "reason": self.reason}
        )


@dataclass(frozen=True, slots=True)
class Informational:
    """Marks a field that is accepted with any value because it asks for nothing that could change the response."""


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
Instruction = Annotated[
    str | None, Field(description="What makes a document relevant, for the model to read. A blank one is none.")
]
Unread = Annotated[Any, Refused("no model here reads it")]
Label = Annotated[Any, Informational(), Field(description="Accepted, and changes nothing.")]
