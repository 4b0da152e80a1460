"""The values that cross the library's edges."""

from dataclasses import dataclass

from rerank.errors import InputError


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query and its documents, in first-stage order. Raises InputError where they cannot be ranked."""

    query: str
    documents: tuple[str, ...]
    top_k: int | None = None

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise InputError("query must hold text, got a blank one")
        if not self.documents:
            raise InputError("documents must hold at least one document, got none")
        for index, document in enumerate(self.documents):
            if not document.strip():
                raise InputError(f"documents[{index}] must hold text, got a blank one")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, got {self.top_k}")


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document's place in the request (`index`, from 0), its relevance score (0 to 1) and its logit."""

    index: int
    score: float
    logit: float


@dataclass(frozen=True, slots=True)
class RerankResult:
    """The documents of one request, best first, and the tokens that scoring them read."""

    ranked: tuple[RankedDocument, ...]
    tokens: int
