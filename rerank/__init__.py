"""Rank candidate sets with rerankers of every kind: the library under the job and the server, free of Ray and HTTP.

Each public name is imported when it is first used: a process that needs a part of the package pays for that part.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank.actor import RerankActor
    from rerank.config import ScorerConfig
    from rerank.errors import RerankError
    from rerank.max_similarity import maxsim
    from rerank.ranking.options import RankingOptions
    from rerank.reranker import Reranker
    from rerank.tables.published import read_ranked
    from rerank.types import EncodeRequest, EncodeResult, RankedDocument, RerankRequest, RerankResult

__all__ = [
    "EncodeRequest",
    "EncodeResult",
    "RankedDocument",
    "RankingOptions",
    "RerankActor",
    "RerankError",
    "RerankRequest",
    "RerankResult",
    "Reranker",
    "ScorerConfig",
    "maxsim",
    "read_ranked",
]

_MODULES = {
    "RankingOptions": "rerank.ranking.options",
    "RerankActor": "rerank.actor",
    "RerankError": "rerank.errors",
    "Reranker": "rerank.reranker",
    "ScorerConfig": "rerank.config",
    "maxsim": "rerank.max_similarity",
    "read_ranked": "rerank.tables.published",
}


def __getattr__(name: str) -> Any:
    """Import a public name. Raises AttributeError for other names."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES.get(name, "rerank.types")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
