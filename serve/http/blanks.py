"""Blank documents: they are not sent to the model, cost no tokens, and come last with score 0."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress

from rerank.errors import TooLongError
from rerank.types import CheckedTexts, RankedDocument, RerankRequest, RerankResult
from serve.models import Scorer
from serve.wires import ParsedRequest

_LOGIT = -700.0  # far below those of models; its sigmoid is 0 in float32, and exp(700) still is a float for clients
_NAMES_SHOWN = 10


async def rank_texts(scorer: Scorer, request: RerankRequest) -> RerankResult:
    """Rank the documents that hold text, and put the blank ones behind them, in the order of the request.

    Nothing is sent to the scorer if all documents are blank. Raises RerankError.
    """
    holds_text = [not _is_blank(text) for text in request.documents]
    if all(holds_text):
        return await scorer.rerank(request)
    result = RerankResult((), tokens=0)
    if any(holds_text):
        indices = list(compress(range(request.size), holds_text))
        try:
            result = await scorer.rerank(_only(request, holds_text))
        except TooLongError as error:
            raise TooLongError(indices[error.index], error.most) from None
        ranked = (replace(document, index=indices[document.index]) for document in result.ranked)
        result = replace(result, ranked=tuple(ranked))
    logit = min([_LOGIT, *(document.logit for document in result.ranked)])
    blanks = (RankedDocument(index, 0.0, logit) for index, holds in enumerate(holds_text) if not holds)
    return replace(result, ranked=(*result.ranked, *blanks)[: request.top_k])


def warnings_of(parsed: ParsedRequest) -> tuple[str, ...]:
    """Return a warning that names the blank documents of a request; nothing if there is none."""
    blanks = [index for index, text in enumerate(parsed.request.documents) if _is_blank(text)]
    if not blanks:
        return ()
    names = [f"{parsed.field}[{index}]" for index in blanks[:_NAMES_SHOWN]]
    more = ", ..." if len(blanks) > _NAMES_SHOWN else ""
    documents = "1 blank document was" if len(blanks) == 1 else f"{len(blanks)} blank documents were"
    return (f"{documents} not scored and got the lowest score: {', '.join(names)}{more}",)


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _only(request: RerankRequest, holds_text: Sequence[bool]) -> RerankRequest:
    """Return the request without its blank documents, and without their queries if each has its own."""
    query = request.query
    if isinstance(query, tuple):
        query = tuple(compress(query, holds_text))
    return replace(request, query=query, documents=CheckedTexts(compress(request.documents, holds_text)))
