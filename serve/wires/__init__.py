"""The protocols, one module each: how a request body is read, and what a response or an error body looks like."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from rerank.types import EncodeRequest, EncodeResult, RerankRequest, RerankResult
from serve.errors import ErrorResponse


@dataclass(frozen=True, slots=True)
class RankingResponse:
    """What every wire renders: the request's id, the model's public name, the ranking, and warnings about it."""

    id: str
    model: str
    result: RerankResult
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request body after parsing, the same for all protocols: always one request to the model.

    `render` makes the response body; it is bound to the request body, which decides what is echoed. `field` and
    `query_field` are the names of the body fields that hold the documents and the query. Documents may be blank;
    `serve.http.blanks` does not send those to the model. `without_passages` is why a model that does not split
    documents into passages must refuse the request; None if it need not.
    """

    model: str | None
    request: RerankRequest
    render: Callable[[RankingResponse], Any]
    field: str = "documents"
    query_field: str = "query"
    without_passages: str | None = None


@dataclass(frozen=True, slots=True)
class VectorsResponse:
    """What a wire that returns vectors renders: the model's public name, and the vectors."""

    model: str
    result: EncodeResult


@dataclass(frozen=True, slots=True)
class ParsedEncode:
    """A request body that asks for vectors, after parsing; see `ParsedRequest`. Its path names the model."""

    request: EncodeRequest
    render: Callable[[VectorsResponse], Any]
    field: str = "items"


class Wire(Protocol):
    """The interface of each protocol module in this package."""

    STATUS: Mapping[str, int]
    """HTTP statuses by error code, where they differ from `serve.errors`."""

    @property
    def Body(self) -> type[BaseModel]:  # noqa: N802
        """The fields of a request body."""
        ...

    def parse(self, body: Mapping[str, Any], /) -> ParsedRequest | ParsedEncode:
        """Read a request body. Raises InputError naming the field."""
        ...

    def error(self, failure: ErrorResponse, /) -> Any:
        """Return the body of an error response."""
        ...
