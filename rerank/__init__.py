"""Rank candidate sets with rerankers of every kind: the library under the job and the server, free of Ray and HTTP."""

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
