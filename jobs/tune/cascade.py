"""What each stage of a cascade buys, and how many candidates a stage should keep."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.evaluation.compare import Comparison, compare
from jobs.evaluation.measures import Judge, Values
from jobs.evaluation.ranked import RankedPairs
from jobs.tune.advice import Verdict, verdict_of
from jobs.tune.cost import Cost, Rates, cost_of_pairs, rates_of
from jobs.tune.settings import DEPTHS, Rows, folds_of, held_out, shallowest
from rerank.arrays import FloatArray
from rerank.errors import InputError

Keeps = tuple[int, ...]
"""How many candidates each stage but the last one passes on; 0: the stages after it are left out."""


class CascadeTuner:
    """Measures every judged query under any `keep` up to that of the run; each setting is ranked once."""

    def __init__(self, pairs: RankedPairs, logits: FloatArray, judge: Judge, keeps: Keeps) -> None:
        """`logits` [pairs, stages] are those of all stages; `keeps` are those of the run."""
        self.pairs, self.keeps = pairs, keeps
        self.queries = len(judge.query_ids)
        self._logits, self._judge = logits, judge
        self._known: dict[Keeps | None, Values] = {}

    def values(self, keeps: Keeps | None) -> Values:
        """Return the measure of each judged query, shape [queries]; None: in the order before the cascade."""
        if keeps not in self._known:
            order = np.arange(len(self.pairs.source_rank)) if keeps is None else self.ranked(keeps)[0]
            ranking = self.pairs.ranking(order, top=self._judge.depth)
            self._known[keeps] = self._judge.values(ranking)[:, 0]
        return self._known[keeps]

    def ranked(self, keeps: Keeps) -> tuple[npt.NDArray[np.intp], list[int]]:
        """Return the pairs best first within each query, and the number of pairs that each stage would see.

        Where an earlier stage keeps fewer than in the run, a later one of three or more would see some candidates that
        it did not see in the run. Their logits are unknown, and they stay below the others that the stage sees.
        """
        order = np.arange(len(self.pairs.source_rank))
        starts, seen = self.pairs.offsets[:-1][self.pairs.query_of], []
        reached = np.zeros(len(order), dtype=np.int32)  # the number of stages that see each pair
        for stage, keep in enumerate((len(order), *keeps)):
            place = np.empty(len(order), dtype=np.intp)
            place[order] = np.arange(len(order))
            is_known = np.isfinite(self._logits[:, stage])
            sees = (reached == stage) & (place - starts < keep) & (is_known | (stage > 0))
            seen.append(int(np.count_nonzero(sees)))
            reached[sees & is_known] = stage + 1
            logit = np.where(sees & is_known, self._logits[:, stage], np.float32(0))
            order = np.lexsort((place, -logit, -reached, self.pairs.query_of))
        return order, seen

    def keeps_to_try(self, stage: int) -> list[int]:
        """Return what the stage with this number (from 0) may keep: 5, 10, 20 … and what it kept in the run."""
        most = min(self.keeps[stage], int(np.diff(self.pairs.offsets).max(initial=1)))
        return [*(depth for depth in DEPTHS if depth < most), most]

    def with_keep(self, keeps: Keeps, stage: int, keep: int) -> Keeps:
        """Return the keeps with that of a stage replaced; later stages keep no more."""
        return (*keeps[:stage], *(min(each, keep) for each in (keep, *keeps[stage + 1 :])))

    def choose(self, rows: Rows) -> Keeps:
        """Return for each stage the smallest keep with 95 % of the best gain over leaving out the stages after it."""
        keeps = self.keeps
        for stage in range(len(keeps)):
            without = float(self.values(self.with_keep(keeps, stage, 0))[rows].mean())
            gains = {
                keep: float(self.values(self.with_keep(keeps, stage, keep))[rows].mean()) - without
                for keep in self.keeps_to_try(stage)
            }
            keeps = self.with_keep(keeps, stage, shallowest(gains))
        return keeps

    @property
    def alone(self) -> Keeps:
        """The first stage without the others."""
        return (0,) * len(self.keeps)

    @property
    def all_rows(self) -> Rows:
        """Every judged query."""
        return np.arange(self.queries)


def tuner_of(pairs: RankedPairs, judge: Judge, manifest: Mapping[str, Any]) -> CascadeTuner:
    """Return the tuner for a cascade's output. Raises InputError if the run did not write the logits of all stages."""
    if pairs.stage_logits is None:
        raise InputError(
            f"{manifest['output']}: a cascade is tuned by the logits of all stages, which are not there: run it again "
            "with --stage-logits and --overwrite (pairs in the score store are not scored again)"
        )
    stages = manifest["stages"]
    logits = np.full((len(pairs.logits), len(stages)), np.nan, dtype=np.float32)
    logits[:, : pairs.stage_logits.shape[1]] = pairs.stage_logits
    return CascadeTuner(pairs, logits, judge, tuple(int(stage["keep"]) for stage in stages[:-1]))


def study_cascade(
    tuner: CascadeTuner, measure: str, manifest: Mapping[str, Any], rates: Sequence[Rates]
) -> dict[str, Any]:
    """Return the results for a cascade as JSON values; `rates` are those of its stages.

    `stages` compares each stage, with the `keep` of the run, with the stages before it; `keeps` does the same for each
    `keep` that may be chosen. `gain` compares the chosen cascade with its first stage alone, on held-out queries, and
    `whole` with that of the run. `recommended` is None if the later stages do not pay.
    """
    chosen = tuner.choose(tuner.all_rows)
    values, folds = held_out(folds_of(tuner.queries), tuner.choose, tuner.values)
    gain = _compared(measure, tuner.values(tuner.alone), values)
    verdict = verdict_of(gain)
    pays = verdict is Verdict.PAYS and chosen[0] > 0
    return {
        "first_stage": float(tuner.values(None).mean()),
        "stages": [_stage_row(tuner, stage, measure, manifest, rates) for stage in range(len(rates))],
        "keeps": [
            {
                "stage": stage + 1,
                "keep": keep,
                **_row(tuner, measure, tuner.with_keep(tuner.keeps, stage, keep), stage + 1, rates),
            }
            for stage in range(len(tuner.keeps))
            for keep in tuner.keeps_to_try(stage)
        ],
        "verdict": str(verdict),
        "gain": asdict(gain),
        "whole": asdict(_compared(measure, tuner.values(tuner.keeps), values)),
        "chosen": {"keep": list(chosen), "folds": [list(keeps) for keeps in folds]},
        "recommended": cascade_line(chosen, manifest) if pays else None,
    }


def _stage_row(
    tuner: CascadeTuner, stage: int, measure: str, manifest: Mapping[str, Any], rates: Sequence[Rates]
) -> dict[str, Any]:
    """Return what a stage buys in the run: its quality against that of the stages before it, and its cost."""
    described = manifest["stages"][stage]
    named = {"stage": stage + 1, "model": described["model"]["name"], "keep": described["keep"]}
    if stage == 0:
        comparison = _compared(measure, tuner.values(None), tuner.values(tuner.alone))
        return {**named, **asdict(comparison), **asdict(_cost(tuner, tuner.keeps, 0, rates))}
    keeps = (*tuner.keeps[:stage], *tuner.alone[stage:])
    return {**named, **_row(tuner, measure, keeps, stage, rates)}


def _row(tuner: CascadeTuner, measure: str, keeps: Keeps, stage: int, rates: Sequence[Rates]) -> dict[str, Any]:
    """Compare a setting with the one that leaves a stage (from 0) and those after it out; the cost is the stage's."""
    before = tuner.with_keep(keeps, stage - 1, 0)
    comparison = _compared(measure, tuner.values(before), tuner.values(keeps))
    return {**asdict(comparison), **asdict(_cost(tuner, keeps, stage, rates))}


def _cost(tuner: CascadeTuner, keeps: Keeps, stage: int, rates: Sequence[Rates]) -> Cost:
    return cost_of_pairs(tuner.ranked(keeps)[1][stage], len(tuner.pairs.query_ids), rates[stage])


def stage_rates(manifest: Mapping[str, Any], *, usd_per_hour: float | None) -> list[Rates]:
    """Return the rates of each stage as the run measured them."""
    return [
        rates_of({**stage, "seconds": {"score": stage["seconds"]}}, pairs_per_second=None, usd_per_hour=usd_per_hour)
        for stage in manifest["stages"]
    ]


def cascade_line(keeps: Keeps, manifest: Mapping[str, Any]) -> str:
    """Return the recommended `rerank run` line, without the stages that a keep of 0 leaves out."""
    words = ["rerank", "run", str(manifest.get("source", "IN")), str(manifest.get("output", "OUT")), "--overwrite"]
    used = list(takewhile(bool, keeps))
    models = [stage["model"] for stage in manifest["stages"][: len(used) + 1]]
    for model, keep in zip(models, [*used, None], strict=True):
        words += ["--stage", str(model["name"]) if keep is None else f"{model['name']}:{keep}"]
    lengths = {model["max_length"] for model in models}
    if len(lengths) == 1:  # otherwise they are most likely those of the models
        words += ["--max-length", str(lengths.pop())]
    return shlex.join(words)


def _compared(measure: str, before: Values, after: Values) -> Comparison:
    return compare([measure], before[:, None], after[:, None])[0]
