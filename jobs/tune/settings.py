"""Settings that could be run, what each is worth per query, and the choice among them that cross-validation judges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from jobs.evaluation.measures import Judge, Values
from jobs.evaluation.ranked import RankedPairs
from rerank.ranking.fusion import FusionMethod, ScoreFusion

Rows = npt.NDArray[np.intp]

DEPTHS = (5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000)
WEIGHTS = tuple(weight / 10 for weight in range(1, 10))
FOLDS = 5

# The shallowest depth that keeps this much of the best gain: what lies below it costs more than it brings.
_ENOUGH = 0.95
_SEED = 20


@dataclass(frozen=True, slots=True)
class Setting:
    """Rerank the first `depth` candidates (0: none), sorted by logit or by a mixture of both stages."""

    depth: int
    mix: ScoreFusion | None = None


class Tuner:
    """One measure of every judged query under any setting; each setting is ranked and measured once."""

    def __init__(self, pairs: RankedPairs, judge: Judge) -> None:
        self.pairs = pairs
        self.queries = len(judge.query_ids)
        self._judge = judge
        self._known: dict[Setting, Values] = {}

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """5, 10, 20 … and all."""
        return (*(depth for depth in DEPTHS if depth < self.pairs.deepest), self.pairs.deepest)

    @cached_property
    def mixes(self) -> dict[FusionMethod, tuple[ScoreFusion, ...]]:
        """The mixtures that can be computed; normalised scores only where the first stage's are known."""
        methods = [
            method for method in FusionMethod if method is FusionMethod.RRF or self.pairs.source_scores is not None
        ]
        return {method: tuple(ScoreFusion(method, weight) for weight in WEIGHTS) for method in methods}

    def values(self, setting: Setting) -> Values:
        """The measure of each judged query, shape [queries]."""
        if setting not in self._known:
            order = self.pairs.order(depth=setting.depth, fusion=setting.mix)
            ranking = self.pairs.ranking(order, top=self._judge.depth)
            self._known[setting] = self._judge.values(ranking)[:, 0]
        return self._known[setting]

    def mean(self, setting: Setting, rows: Rows) -> float:
        """The measure over some of the queries."""
        return float(self.values(setting)[rows].mean())

    def choose_depth(self, rows: Rows) -> int:
        """The shallowest depth with 95 % of the best gain on these queries; 0 where no depth gains."""
        gains = {depth: self.mean(Setting(depth), rows) - self.mean(Setting(0), rows) for depth in self.depths}
        best = max(gains.values())
        return next((depth for depth, gain in gains.items() if best > 0 and gain >= _ENOUGH * best), 0)

    def choose(self, rows: Rows, methods: Sequence[FusionMethod] = ()) -> Setting:
        """The best on these queries: no mixture at the depth chosen there, or one of these methods, there or at all."""
        depth = self.choose_depth(rows)
        mixes = [how for method in methods for how in self.mixes[method]]
        settings = [
            Setting(depth),
            *(Setting(wide, how) for wide in (depth, self.pairs.deepest) if wide for how in mixes),
        ]
        # Among equals the first wins: mixing, and mixing deeper, must earn its place.
        return max(settings, key=lambda setting: self.mean(setting, rows))

    def held_out(self, choose: Callable[[Rows], Setting]) -> tuple[Values, list[Setting]]:
        """Each query's value under what was chosen on the other folds' queries; and what was chosen, fold by fold."""
        values = np.empty(self.queries)
        chosen = []
        for fold in self.folds:
            others = np.setdiff1d(np.arange(self.queries), fold)
            chosen.append(choose(others))
            values[fold] = self.values(chosen[-1])[fold]
        return values, chosen

    @cached_property
    def folds(self) -> list[Rows]:
        """The queries in five random parts, the same every time."""
        shuffled = np.random.default_rng(_SEED).permutation(self.queries)
        return [part for part in np.array_split(shuffled, FOLDS) if len(part)]

    @property
    def all_rows(self) -> Rows:
        """Every judged query."""
        return np.arange(self.queries)
