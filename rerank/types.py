"""The values that cross the library's edges."""

from dataclasses import dataclass, field

from rerank.errors import InputError


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """What texts are cut to beyond the model's own limit, in its tokens: each `document` before it is paired, and each
    `pair` with its special tokens. Where `strict`, a pair that is too long is refused instead of cut.
    """

    document: int | None = None
    pair: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        for name in ("document", "pair"):
            if (most := getattr(self, name)) is not None and most < 1:
                raise InputError(f"the token limit of a {name} must be at least 1, got {most}")


AS_THE_MODEL = TokenLimits()


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query and its documents, in first-stage order. Raises InputError where they cannot be ranked.

    `timeout_s` is how long the caller waits for the answer; None: as long as it takes.
    """

    query: str
    documents: tuple[str, ...]
    top_k: int | None = None
    timeout_s: float | None = None
    token_limits: TokenLimits = AS_THE_MODEL

    def __post_init__(self) -> None:
        _check_text("query", self.query)
        if not self.documents:
            raise InputError("documents must hold at least one document, got none")
        for index, document in enumerate(self.documents):
            _check_text(f"documents[{index}]", document)
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, got {self.top_k}")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise InputError(f"timeout_s must be above 0, got {self.timeout_s:g}")


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document's place in the request (`index`, from 0), its relevance score (0 to 1) and its logit."""

    index: int
    score: float
    logit: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a request's seconds went: being tokenised, waiting for its first turn, from there to its last score."""

    tokenize_s: float = 0.0
    queue_s: float = 0.0
    score_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RerankResult:
    """The documents of one request, best first, the tokens that scoring them read, and where the time went."""

    ranked: tuple[RankedDocument, ...]
    tokens: int
    timings: Timings = field(default=Timings(), compare=False)


def _check_text(name: str, text: str) -> None:
    if not isinstance(text, str):
        raise InputError(f"{name} must be a string, got {text!r}")
    if not text.strip():
        raise InputError(f"{name} must hold text, got a blank one")
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone half of a surrogate pair, which JSON can spell and no tokeniser reads
        raise InputError(f"{name} must be valid Unicode, got {ascii(text)[:80]}") from None
