"""Measure settings (depth and mixture) per query, and choose among them with cross-validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from jobs.evaluation.measures import Judge, Values
from jobs.evaluation.ranked import RankedPairs
from rerank.ranking.fusion import FusionMethod, ScoreFusion

Rows = npt.NDArray[np.intp]
Choice = TypeVar("Choice")

DEPTHS = (5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000)
WEIGHTS = tuple(weight / 10 for weight in range(1, 10))
FOLDS = 5

# The shallowest depth with this share of the best gain is chosen: deeper candidates cost more than they gain.
_ENOUGH = 0.95
_SEED = 20


@dataclass(frozen=True, slots=True)
class Setting:
    """Rerank the first `depth` candidates (0: none), sorted by logit or by a mixture of both stages."""

    depth: int
    mix: ScoreFusion | None = None


class Tuner:
    """Measures every judged query under any setting; each setting is ranked and measured once."""

    def __init__(self, pairs: RankedPairs, judge: Judge) -> None:
        self.pairs = pairs
        self.queries = len(judge.query_ids)
        self._judge = judge
        self._known: dict[Setting, Values] = {}

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """The depths to compare: 5, 10, 20 … and all candidates."""
        return (*(depth for depth in DEPTHS if depth < self.pairs.deepest), self.pairs.deepest)

    @cached_property
    def mixes(self) -> dict[FusionMethod, tuple[ScoreFusion, ...]]:
        """The mixtures to compare; those of scores only if the first stage's scores are known."""
        methods = [
            method for method in FusionMethod if method is FusionMethod.RRF or self.pairs.source_scores is not None
        ]
        return {method: tuple(ScoreFusion(method, weight) for weight in WEIGHTS) for method in methods}

    def values(self, setting: Setting) -> Values:
        """Return the measure of each judged query, shape [queries]."""
        if setting not in self._known:
            order = self.pairs.order(depth=setting.depth, fusion=setting.mix)
            ranking = self.pairs.ranking(order, top=self._judge.depth)
            self._known[setting] = self._judge.values(ranking)[:, 0]
        return self._known[setting]

    def mean(self, setting: Setting, rows: Rows) -> float:
        """Return the mean of the measure over these queries."""
        return float(self.values(setting)[rows].mean())

    def choose_depth(self, rows: Rows) -> int:
        """Return the shallowest depth with 95 % of the best gain on these queries; 0 if no depth gains."""
        gains = {depth: self.mean(Setting(depth), rows) - self.mean(Setting(0), rows) for depth in self.depths}
        return shallowest(gains)

    def choose(self, rows: Rows, methods: Sequence[FusionMethod] = ()) -> Setting:
        """Return the best setting for these queries.

        Candidates are no mixture at the chosen depth, or a mixture by one of `methods` at that depth or at full depth.
        """
        depth = self.choose_depth(rows)
        mixes = [mix for method in methods for mix in self.mixes[method]]
        settings = [
            Setting(depth),
            *(Setting(mix_depth, mix) for mix_depth in (depth, self.pairs.deepest) if mix_depth for mix in mixes),
        ]
        # max() returns the first of equals, so a mixture or a deeper one is chosen only if it is better.
        return max(settings, key=lambda setting: self.mean(setting, rows))

    def held_out(self, choose: Callable[[Rows], Setting]) -> tuple[Values, list[Setting]]:
        """Return each query's value under the setting chosen on the other folds, and the setting of each fold."""
        return held_out(self.folds, choose, self.values)

    @cached_property
    def folds(self) -> list[Rows]:
        """The queries in five random parts."""
        return folds_of(self.queries)

    @property
    def all_rows(self) -> Rows:
        """Every judged query."""
        return np.arange(self.queries)


def shallowest(gains: Mapping[int, float]) -> int:
    """Return the smallest depth with 95 % of the best gain, 0 if none gains; `gains` has the depths in order."""
    best = max(gains.values())
    return next((depth for depth, gain in gains.items() if best > 0 and gain >= _ENOUGH * best), 0)


def held_out(
    folds: Sequence[Rows], choose: Callable[[Rows], Choice], values_of: Callable[[Choice], Values]
) -> tuple[Values, list[Choice]]:
    """Return each query's value under what was chosen on the other folds, and the choice of each fold."""
    queries = sum(map(len, folds))
    values = np.empty(queries)
    chosen = []
    for fold in folds:
        chosen.append(choose(np.setdiff1d(np.arange(queries), fold)))
        values[fold] = values_of(chosen[-1])[fold]
    return values, chosen


def folds_of(queries: int) -> list[Rows]:
    """Return the queries in five random parts, the same in every call."""
    shuffled = np.random.default_rng(_SEED).permutation(queries)
    return [part for part in np.array_split(shuffled, FOLDS) if len(part)]
