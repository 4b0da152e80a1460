"""What the options of a job become for its stages."""

import pytest

from jobs.pipeline.stages.load import LoadedStage, check_distinct, load_stages, pipeline_stages, resolve_at_once
from jobs.pipeline.stages.pool import Pool
from jobs.pipeline.stages.settings import StageConfig
from rerank.cascade.handover import Handover
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairTemplate
from rerank.errors import ConfigError
from rerank.fingerprint import ModelIdentity
from rerank.paths import locate
from rerank.ranking.options import RankingOptions
from rerank.store.folder import Folder

TEMPLATE = PairTemplate(((), (), ()), (0, 0, 0, 0, 0))


def loaded(
    name: str, number: int, keep: int | None = None, *, content: str | None = None, gpus: int = 0
) -> LoadedStage:
    scorer = ScorerConfig(model=name)
    identity = ModelIdentity(name, content or f"files:{name}", 64, TEMPLATE, "float32")
    return LoadedStage(StageConfig(scorer=scorer, keep=keep), scorer, identity, None, Pool(1, 1, gpus), number)


def test_a_cluster_on_this_machine_starts_no_worker_to_read_a_few_files() -> None:
    stages = [StageConfig(scorer=ScorerConfig(device="cpu"))]
    (stage,) = load_stages(stages, [Pool(1, 2, 0)], resolve_at_once(stages))
    assert (stage.model.name, stage.scorer.threads, stage.encoder is None) == ("docs-mini", 2, False)


def test_each_stage_has_its_part_of_the_options() -> None:
    folder = locate("attempts")
    first, second, last = pipeline_stages(
        [loaded("a", 1, 50), loaded("b", 2, 20, gpus=1), loaded("c", 3, 8)],
        [None] * 3,
        options=RankingOptions(top_k=10, min_score=0.5, depth=70),
        keep_text=False,
        stage_logits=True,
        blocks=[200, 1_000, 200],
        pairs_per_query=100,
        attempts=Folder(folder.filesystem, folder.path),
    )
    assert [stage.options for stage in (first, second, last)] == [RankingOptions(depth=70), *[RankingOptions()] * 2]
    assert [stage.queries_per_block for stage in (first, second, last)] == [2, 20, 10]
    assert [stage.finish_block for stage in (first, second, last)] == [
        Handover(1, 50, stage_logits=True),
        Handover(2, 20, stage_logits=True),
        Handover(3, None, stage_logits=True, top_k=8, min_score=0.5),
    ]
    assert len({stage.attempts.folder.path for stage in (first, second, last) if stage.attempts}) == 3


def test_a_single_model_has_them_all() -> None:
    folder, options = locate("attempts"), RankingOptions(top_k=10, min_score=0.5, depth=70)
    (only,) = pipeline_stages(
        [loaded("a", 0)],
        [None],
        options=options,
        keep_text=False,
        stage_logits=False,
        blocks=[200],
        pairs_per_query=100,
        attempts=Folder(folder.filesystem, folder.path),
    )
    assert (only.options, only.finish_block, only.queries_per_block) == (options, None, 2)


def test_a_stage_in_words() -> None:
    stage = "model a in float32, at most 64 tokens per pair"
    assert str(loaded("a", 0)) == f"{stage}, on 1 actor with 1 CPU"
    assert str(loaded("a", 2, 1_000)) == f"stage 2: {stage}, keeps 1,000, on 1 actor with 1 CPU"


def test_a_model_by_two_names_is_refused() -> None:
    check_distinct([loaded("a", 1, 5), loaded("b", 2)])
    with pytest.raises(ConfigError, match="stages: 'a' and 'b' are the same model; each stage must have another one"):
        check_distinct([loaded("a", 1, 5, content="files:x"), loaded("b", 2, content="files:x")])
