"""The protocols, one module each: what a body asks for, and how an answer or an error is worded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rerank.types import RerankRequest, RerankResult
from serve.errors import ErrorResponse


@dataclass(frozen=True, slots=True)
class Answer:
    """What every wire renders: the request's id, the model's public name, and a ranking per query asked for."""

    id: str
    model: str
    results: tuple[RerankResult, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for, in our words. `render` is bound to the body, which decides what is echoed; `field` is what
    the body calls its documents.
    """

    model: str | None
    requests: tuple[RerankRequest, ...]
    render: Callable[[Answer], Any]
    field: str = "documents"


class Wire(Protocol):
    """What each module of this package offers."""

    STATUS: Mapping[str, int]
    """HTTP statuses by error code, where the protocol's differ from `serve.errors`."""

    def parse(self, body: Mapping[str, Any], /) -> Asked:
        """Read a JSON object. Raises InputError naming the field."""
        ...

    def error(self, problem: ErrorResponse, /) -> Any:
        """The JSON body of an error."""
        ...
