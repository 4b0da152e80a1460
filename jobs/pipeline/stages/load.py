"""What the stages of a job become on a cluster: models that are identified there, with their pools and lookups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from jobs.pipeline.cluster import start_ray_data
from jobs.pipeline.score_lookup import ScoreLookup, is_resolved_at_once, resolve_and_ship
from jobs.pipeline.stages.pool import Pool
from jobs.pipeline.stages.settings import StageConfig
from jobs.pipeline.stages.stage import Stage
from rerank.cascade.handover import Handover
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.errors import ConfigError
from rerank.fingerprint import ModelIdentity
from rerank.isolation.attempts import ScoringAttempts
from rerank.ranking.options import RankingOptions
from rerank.store.folder import Folder

Resolved = tuple[ScorerConfig, ModelIdentity, PairEncoder | None]  # what `resolve_and_ship` returns


@dataclass(frozen=True, slots=True)
class LoadedStage:
    """A stage whose model was found; `number` is that of a stage of a cascade, from 1, and 0 for a single model."""

    config: StageConfig
    scorer: ScorerConfig  # with the model's content
    model: ModelIdentity
    encoder: PairEncoder | None
    pool: Pool
    number: int = 0

    def actors(self, seen: Mapping[int, int]) -> int:
        """Return how many actors the stage had; `seen` are those that ranked something, by number of the stage."""
        return self.pool.size if self.pool.max_size is None else max(1, seen.get(self.number, 0))

    def __str__(self) -> str:
        model = f"model {self.model.name} in {self.model.dtype}, at most {self.model.max_length:,} tokens per pair"
        keep = f", keeps {self.config.keep:,}" if self.config.keep else ""
        return (f"stage {self.number}: " if self.number else "") + f"{model}{keep}, on {self.pool}"


def resolve_at_once(stages: Sequence[StageConfig]) -> list[Resolved | None]:
    """Identify the models that need no long imports in this process; None for the others. Raises as `resolve`."""
    scorers = [_scorer_of(stage) for stage in stages]
    return [resolve_and_ship(scorer) if is_resolved_at_once(scorer) else None for scorer in scorers]


def load_stages(
    stages: Sequence[StageConfig], pools: Sequence[Pool], resolved: Sequence[Resolved | None]
) -> list[LoadedStage]:
    """Return the stages with their models, of which `resolved` are those that this process has identified already.

    The others are identified on the cluster, at the same time; no weights are loaded. Raises ModelError or ConfigError.
    """
    resolving = [
        parts
        or ray.remote(resolve_and_ship)
        .options(num_gpus=pool.gpus, resources=dict(pool.resources))
        .remote(_scorer_of(stage))
        for stage, pool, parts in zip(stages, pools, resolved, strict=True)
    ]
    if None in resolved:
        start_ray_data()  # meanwhile
    loaded = []
    for number, (stage, pool, parts) in enumerate(zip(stages, pools, resolving, strict=True), start=1):
        scorer, model, encoder = ray.get(parts) if isinstance(parts, ray.ObjectRef) else parts
        if not pool.gpus and scorer.threads is None:  # the actor's share of the cores, not all of them
            scorer = scorer.model_copy(update={"threads": max(1, int(pool.cpus))})
        loaded.append(LoadedStage(stage, scorer, model, encoder, pool, number if len(stages) > 1 else 0))
    check_distinct(loaded)
    return loaded


def _scorer_of(stage: StageConfig) -> ScorerConfig:
    """Return the settings of the stage's model; without GPUs of its own it must not take one that it happens to see."""
    if stage.pool.gpus == 0 and stage.scorer.device == "auto":
        return stage.scorer.model_copy(update={"device": "cpu"})
    return stage.scorer


def check_distinct(stages: Sequence[LoadedStage]) -> None:
    """Raise ConfigError if two stages have the same model by different names."""
    seen: dict[str, str] = {}
    for stage in stages:
        if (other := seen.setdefault(stage.model.fingerprint, stage.model.name)) != stage.model.name:
            raise ConfigError(
                f"stages: {other!r} and {stage.model.name!r} are the same model; each stage must have another one"
            )


def pipeline_stages(
    stages: Sequence[LoadedStage],
    lookups: Sequence[ScoreLookup | None],
    *,
    options: RankingOptions,
    keep_text: bool,
    stage_logits: bool,
    blocks: Sequence[int],
    pairs_per_query: int,
    attempts: Folder,
) -> list[Stage]:
    """Return the stages as the pipeline runs them; each notes what it scores in a folder of its own in `attempts`.

    `blocks` are the pairs per block of each stage. The options of the whole job become those of stages: the first
    scores `depth` candidates, and `top_k` and `min_score` hold after the last.
    """
    if len(stages) == 1:
        block = max(1, blocks[0] // pairs_per_query)
        return [_stage(stages[0], block, lookup=lookups[0], attempts=ScoringAttempts(attempts), options=options)]
    ranked = []
    for stage, lookup, block in zip(stages, lookups, blocks, strict=True):
        ranked.append(
            _stage(
                stage,
                max(1, block // pairs_per_query),
                lookup=lookup,
                attempts=ScoringAttempts(attempts.join(f"stage-{stage.number}")),
                options=RankingOptions(depth=options.depth if stage.number == 1 else None),
                finish_block=_handover(
                    stage, options, is_last=stage is stages[-1], keep_text=keep_text, stage_logits=stage_logits
                ),
            )
        )
        pairs_per_query = min(pairs_per_query, stage.config.keep or pairs_per_query)
    return ranked


def _handover(
    stage: LoadedStage, options: RankingOptions, *, is_last: bool, keep_text: bool, stage_logits: bool
) -> Handover:
    if not is_last:
        return Handover(stage.number, stage.config.keep, keep_text=keep_text, stage_logits=stage_logits)
    limits = [limit for limit in (options.top_k, stage.config.keep) if limit is not None]
    return Handover(
        stage.number,
        None,
        keep_text=keep_text,
        stage_logits=stage_logits,
        top_k=min(limits, default=None),
        min_score=options.min_score,
    )


def _stage(stage: LoadedStage, queries_per_block: int, *, lookup: ScoreLookup | None, **settings: Any) -> Stage:
    return Stage(stage.scorer, stage.pool, queries_per_block, score_lookup=lookup, encoder=stage.encoder, **settings)
