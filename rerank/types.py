"""The values that enter and leave the library."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from sys import getsizeof
from typing import Literal, NamedTuple

from rerank.arrays import FloatArray
from rerank.errors import InputError

Output = Literal["dense", "multivector"]
"""What a model makes of a text: one vector, or one for each token that counts."""


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """Token limits of a request, below those of the model itself, counted in the model's tokens.

    Each document is truncated to `document` tokens before it is paired, and each pair to `pair` tokens, special tokens
    included; None: no limit besides the model's. If `strict`, a pair that is too long raises TooLongError instead of
    being truncated. Raises InputError if a limit is below 1.
    """

    document: int | None = None
    pair: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        for name in ("document", "pair"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise InputError(f"the token limit of a {name} must be at least 1, got {limit}")


AS_THE_MODEL = TokenLimits()


@dataclass(frozen=True, slots=True)
class PassageLimits:
    """What a request changes in how a model with passages splits documents; None: as the model is configured.

    At most `most` passages of a document are scored, and not more than the model allows. A passage repeats `overlap`
    tokens of the one before it. Raises InputError if `most` is below 1 or `overlap` is below 0.
    """

    most: int | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            raise InputError(f"the number of passages of a document must be at least 1, got {self.most}")
        if self.overlap is not None and self.overlap < 0:
            raise InputError(f"the overlap of passages must be at least 0 tokens, got {self.overlap}")


AS_CONFIGURED = PassageLimits()


class CheckedTexts(tuple[str, ...]):
    """Texts that were checked before: valid Unicode, and none of those that reach a model is blank."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query and its documents, in first-stage order.

    `query` may also be a tuple with a query for each document: independent pairs, scored as one request. `top_k` is
    the number of documents to return; None: all. `timeout_s` is how many seconds `RerankActor.rerank` may take; None:
    no limit. `token_limits` truncates texts further than the model does. `passage_limits` are for models that score
    long documents passage by passage. `instruction` tells the model what makes a document relevant; None or blank: the
    one that the model is used with, if any.

    Raises InputError if a text is blank, not a string or not valid Unicode, if there is no document, if there are
    several queries but not one for each document, or if `top_k` or `timeout_s` is not positive. Documents that are
    CheckedTexts are not checked again.
    """

    query: str | tuple[str, ...]
    documents: tuple[str, ...]
    top_k: int | None = None
    timeout_s: float | None = None
    token_limits: TokenLimits = AS_THE_MODEL
    passage_limits: PassageLimits = AS_CONFIGURED
    instruction: str | None = None

    def __post_init__(self) -> None:
        if self.instruction is not None:
            _check_text("instruction", self.instruction, may_be_blank=True)
        if isinstance(self.query, tuple):
            for index, query in enumerate(self.query):
                _check_text(f"query[{index}]", query)
        else:
            _check_text("query", self.query)
        if not self.documents:
            raise InputError("documents must hold at least one document, got none")
        if not isinstance(self.documents, CheckedTexts):
            for index, document in enumerate(self.documents):
                _check_text(f"documents[{index}]", document)
        if isinstance(self.query, tuple) and len(self.query) != len(self.documents):
            count, expected = len(self.query), len(self.documents)
            raise InputError(f"query must be one text or as many as documents ({expected}), got {count}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, got {self.top_k}")
        _check_timeout(self.timeout_s)

    @property
    def size(self) -> int:
        """Return the number of pairs."""
        return len(self.documents)

    @property
    def queries(self) -> tuple[str, ...]:
        """Return the query of all documents, or the queries of each of them."""
        return self.query if isinstance(self.query, tuple) else (self.query,)

    @property
    def text_bytes(self) -> int:
        """Return how much memory the texts take."""
        return sum(map(getsizeof, (*self.queries, *self.documents, self.instruction)))


@dataclass(frozen=True, slots=True)
class EncodeRequest:
    """Texts to encode as vectors: queries if `is_query`, otherwise documents.

    `outputs` are the outputs that the caller expects; none: whatever the model has. `timeout_s` is how many seconds
    `RerankActor.encode` may take; None: no limit. `instruction` is that of the queries, see `RerankRequest`.

    Raises InputError if a text is blank, not a string or not valid Unicode, if there is no text, or if `timeout_s` is
    not positive. Texts that are CheckedTexts are not checked again.
    """

    texts: tuple[str, ...]
    is_query: bool = False
    outputs: tuple[Output, ...] = ()
    timeout_s: float | None = None
    instruction: str | None = None

    def __post_init__(self) -> None:
        if not self.texts:
            raise InputError("texts must hold at least one text, got none")
        if not isinstance(self.texts, CheckedTexts):
            for index, text in enumerate(self.texts):
                _check_text(f"texts[{index}]", text)
        _check_timeout(self.timeout_s)

    @property
    def size(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    @property
    def text_bytes(self) -> int:
        """Return how much memory the texts take."""
        return sum(map(getsizeof, self.texts))


class Passage(NamedTuple):
    """A part of a document: its first character, the one behind its last character, and its relevance score."""

    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """One scored document of a request.

    `index` is its place in `RerankRequest.documents`, from 0. `score` is its relevance score from 0 to 1, for most
    models the sigmoid of the logit. `logit` is the model's raw output; documents are sorted by it. A model that scores
    long documents passage by passage gives the number of `passages`, and the best one.
    """

    index: int
    score: float
    logit: float
    passages: int | None = None
    best_passage: Passage | None = None


class BatchTiming(NamedTuple):
    """A batch that held pairs of a request: seconds from the request's arrival to its start and to its end.

    `pairs` are those of the request in the batch, `batch_pairs` those of all requests.
    """

    start_s: float
    end_s: float
    pairs: int
    batch_pairs: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that a request spent being tokenised, waiting for its first batch, and from then to its last result.

    `arrived_at` is when the actor got the request, in seconds since 1970. `stages` are the timings of each stage of a
    cascade, which has neither `arrived_at` nor `batches` of its own.
    """

    tokenize_s: float = 0.0
    queue_s: float = 0.0
    score_s: float = 0.0
    arrived_at: float = 0.0
    batches: tuple[BatchTiming, ...] = ()
    stages: tuple["Timings", ...] = ()


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A batch that an engine has computed, or failed to; a text to encode counts as a pair.

    `waiting_pairs` are the pairs of all requests that are unfinished after it.
    """

    pairs: int
    seconds: float
    waiting_pairs: int


@dataclass(frozen=True, slots=True)
class RerankResult:
    """The ranked documents of one request.

    `ranked` holds the documents best first, at most `top_k`; equal logits keep the order of the request. `tokens`
    counts the tokens of all pairs that were scored, special tokens included. `timings` is zero unless a RerankActor
    served the request; it does not count when results are compared. `warnings` are sentences about this result.
    """

    ranked: tuple[RankedDocument, ...]
    tokens: int
    timings: Timings = field(default=Timings(), compare=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class EncodeResult:
    """The vectors of one request, float32 [vectors, width] for each text; one vector if the output is "dense".

    `tokens` counts the tokens of all texts, special tokens included.
    """

    output: Output
    vectors: tuple[FloatArray, ...]
    tokens: int
    timings: Timings = Timings()


def requests_of(
    queries: Sequence[str], documents: Sequence[Sequence[str]], top_k: int | None
) -> tuple[RerankRequest, ...]:
    """Return one request per query. Raises InputError that names the query."""
    if isinstance(queries, str) or len(queries) != len(documents):
        raise InputError(
            f"rank_many takes a list of documents for each query, got {len(documents)} lists for "
            + (f"one string: {queries[:80]!r}" if isinstance(queries, str) else f"{len(queries)} queries")
        )
    requests = []
    for index, (query, texts) in enumerate(zip(queries, documents, strict=True)):
        if isinstance(texts, str):
            raise InputError(f"documents[{index}] must be a list of strings, got one string: {texts[:80]!r}")
        try:
            requests.append(RerankRequest(query, tuple(texts), top_k))
        except InputError as problem:
            raise InputError(f"queries[{index}]: {problem}") from None
    return tuple(requests)


def _check_timeout(timeout_s: float | None) -> None:
    if timeout_s is not None and timeout_s <= 0:
        raise InputError(f"timeout_s must be above 0, got {timeout_s:g}")


def _check_text(name: str, text: str, *, may_be_blank: bool = False) -> None:
    if not isinstance(text, str):
        raise InputError(f"{name} must be a string, got {text!r}")
    if not (may_be_blank or text.strip()):
        raise InputError(f"{name} must hold text, got a blank one")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can contain one, and no tokeniser reads it
        raise InputError(f"{name} must be valid Unicode, got {ascii(text)[:80]}") from None
