"""What a notebook gets: ranked texts that print as a table and turn into a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from rerank.types import RankedDocument

if TYPE_CHECKING:
    import pandas as pd

_TEXT_WIDTH = 80
_SHOWN = 20


@dataclass(frozen=True, slots=True, repr=False)
class RankedTexts:
    """The documents of one query, best first; `texts[i]` is what `ranked[i].index` points at in the list given.

    `tokens` were read to score all `document_count` of them.
    """

    query: str
    ranked: tuple[RankedDocument, ...]
    texts: tuple[str, ...]
    document_count: int
    tokens: int

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
            f"{rank:>4} {found.score:>7.4f} {found.logit:>8.3f} {found.index:>6}  {_short(text, _TEXT_WIDTH)}"
            for rank, found, text in self._shown()
        ]
        return "\n".join([head, *lines, *self._more()])

    def _repr_html_(self) -> str:
        """The same table for Jupyter."""
        names = "".join(f"<th>{name}</th>" for name in ("rank", "score", "logit", "index", "text"))
        rows = "".join(
            f"<tr><td>{rank}</td><td>{found.score:.4f}</td><td>{found.logit:.3f}</td><td>{found.index}</td>"
            f'<td style="text-align:left">{escape(_short(text, 3 * _TEXT_WIDTH))}</td></tr>'
            for rank, found, text in self._shown()
        )
        more = "".join(f"<p>{line}</p>" for line in self._more())
        return f"<table><caption>{escape(self.query)}</caption><tr>{names}</tr>{rows}</table>{more}"

    def to_pandas(self) -> pd.DataFrame:
        """A row per document: query, rank (from 1), score (0 to 1), logit, index (from 0), text."""
        import pandas as pd

        columns = {
            "query": [self.query] * len(self),
            "rank": range(1, len(self) + 1),
            "score": [found.score for found in self.ranked],
            "logit": [found.logit for found in self.ranked],
            "index": [found.index for found in self.ranked],
            "text": self.texts,
        }
        return pd.DataFrame(columns)

    def _shown(self) -> Iterator[tuple[int, RankedDocument, str]]:
        return zip(range(1, _SHOWN + 1), self.ranked, self.texts, strict=False)

    def _more(self) -> list[str]:
        return [f"… and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []


@dataclass(frozen=True, slots=True, repr=False)
class RankedQueries:
    """What several queries found, in the order they were asked."""

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
            f"{found.ranked[0].score:>7.4f}  {_short(found.query, 40):<40}  {_short(found.texts[0], _TEXT_WIDTH)}"
            for found in self.results[:_SHOWN]
        ]
        return "\n".join([*lines, *([f"… and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else [])])

    def to_pandas(self) -> pd.DataFrame:
        """The rows of all queries; see `RankedTexts.to_pandas`. `query_index` (from 0) tells equal queries apart."""
        import pandas as pd

        frames = [result.to_pandas() for result in self] or [RankedTexts("", (), (), 0, 0).to_pandas()]
        frame = pd.concat(frames, keys=range(len(frames)), names=["query_index"])
        return frame.reset_index(level="query_index").reset_index(drop=True)


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
