"""Rank candidate sets with rerankers of every kind: the library under the job and the server, free of Ray and HTTP."""

from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.errors import RerankError
from rerank.max_similarity import maxsim
from rerank.ranking.options import RankingOptions
from rerank.reranker import Reranker
from rerank.types import RankedDocument, RerankRequest, RerankResult

__all__ = [
    "RankedDocument",
    "RankingOptions",
    "RerankActor",
    "RerankError",
    "RerankRequest",
    "RerankResult",
    "Reranker",
    "ScorerConfig",
    "maxsim",
]
