"""Results for notebooks: ranked texts that print as a table and convert to a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from rerank.types import RankedDocument, RerankRequest, RerankResult

if TYPE_CHECKING:
    import pandas as pd

_TEXT_WIDTH = 80
_SHOWN = 20


@dataclass(frozen=True, slots=True, repr=False)
class RankedTexts:
    """The documents of one query, best first: a sequence of RankedDocument that prints as a table.

    `texts[i]` is the text of `ranked[i]`. `document_count` is the number of documents that were scored, and `tokens`
    the tokens of their pairs.
    """

    query: str
    ranked: tuple[RankedDocument, ...]
    texts: tuple[str, ...]
    document_count: int
    tokens: int

    @classmethod
    def of(cls, request: RerankRequest, result: RerankResult) -> RankedTexts:
        """Return the result of a request with one query, together with its texts."""
        texts = tuple(request.documents[document.index] for document in result.ranked)
        return cls(request.queries[0], result.ranked, texts, len(request.documents), result.tokens)

    def __iter__(self) -> Iterator[RankedDocument]:
        return iter(self.ranked)

    def __len__(self) -> int:
        return len(self.ranked)

    def __getitem__(self, place: int) -> RankedDocument:
        return self.ranked[place]

    def __repr__(self) -> str:
        head = f"{_short(self.query, 60)!r}: {len(self)} of {self.document_count} documents, {self.tokens:,} tokens"
        lines = [f"{'rank':>4} {'score':>7} {'logit':>8} {'index':>6}  text"]
        lines += [
            f"{rank:>4} {document.score:>7.4f} {document.logit:>8.3f} {document.index:>6}  {_short(text, _TEXT_WIDTH)}"
            for rank, document, text in self._shown()
        ]
        return "\n".join([head, *lines, *self._more()])

    def _repr_html_(self) -> str:
        """Return the table as HTML for Jupyter."""
        names = "".join(f"<th>{name}</th>" for name in ("rank", "score", "logit", "index", "text"))
        rows = "".join(
            f"<tr><td>{rank}</td><td>{document.score:.4f}</td><td>{document.logit:.3f}</td><td>{document.index}</td>"
            f'<td style="text-align:left">{escape(_short(text, 3 * _TEXT_WIDTH))}</td></tr>'
            for rank, document, text in self._shown()
        )
        more = "".join(f"<p>{line}</p>" for line in self._more())
        return f"<table><caption>{escape(self.query)}</caption><tr>{names}</tr>{rows}</table>{more}"

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per document: query, rank (from 1), score (0 to 1), logit, index (from 0), text."""
        import pandas as pd

        columns = {
            "query": [self.query] * len(self),
            "rank": range(1, len(self) + 1),
            "score": [document.score for document in self.ranked],
            "logit": [document.logit for document in self.ranked],
            "index": [document.index for document in self.ranked],
            "text": self.texts,
        }
        return pd.DataFrame(columns)

    def _shown(self) -> Iterator[tuple[int, RankedDocument, str]]:
        return zip(range(1, _SHOWN + 1), self.ranked, self.texts, strict=False)

    def _more(self) -> list[str]:
        return [f"… and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []


@dataclass(frozen=True, slots=True, repr=False)
class RankedQueries:
    """The results of several queries, in the order of the queries: a sequence of RankedTexts."""

    results: tuple[RankedTexts, ...]

    def __iter__(self) -> Iterator[RankedTexts]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, place: int) -> RankedTexts:
        return self.results[place]

    def __repr__(self) -> str:
        lines = [f"{len(self)} queries, {sum(result.document_count for result in self):,} documents; the best of each:"]
        lines += [
            f"{result.ranked[0].score:>7.4f}  {_short(result.query, 40):<40}  {_short(result.texts[0], _TEXT_WIDTH)}"
            for result in self.results[:_SHOWN]
        ]
        return "\n".join([*lines, *([f"… and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else [])])

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows of all queries, see `RankedTexts.to_pandas`, with a `query_index` (from 0) in front."""
        import pandas as pd

        frames = [result.to_pandas() for result in self] or [RankedTexts("", (), (), 0, 0).to_pandas()]
        frame = pd.concat(frames, keys=range(len(frames)), names=["query_index"])
        return frame.reset_index(level="query_index").reset_index(drop=True)


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
