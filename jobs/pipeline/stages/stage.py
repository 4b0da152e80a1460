"""A stage as the Ray Data pipeline runs it."""

from dataclasses import dataclass

from jobs.pipeline.score_lookup import ScoreLookup
from jobs.pipeline.stages.pool import Pool
from rerank.cascade.handover import Handover
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.engines import Engine
from rerank.isolation.attempts import ScoringAttempts
from rerank.ranking.options import DEFAULT_OPTIONS, RankingOptions


@dataclass(frozen=True, slots=True)
class Stage:
    """A model of the pipeline with its pool of actors.

    `encoder` belongs to `scorer`; without it each process loads its own. `engine` replaces the one that `scorer` names.
    Each block has at least `queries_per_block` queries. `finish_block` makes the next stage's block of a ranked one, or
    the result of a cascade; None in a job of one stage.
    """

    scorer: ScorerConfig
    pool: Pool
    queries_per_block: int
    options: RankingOptions = DEFAULT_OPTIONS
    score_lookup: ScoreLookup | None = None
    attempts: ScoringAttempts | None = None
    engine: Engine | None = None
    encoder: PairEncoder | None = None
    finish_block: Handover | None = None
