"""Turn the measurements into one recommended command line, or the verdict that reranking does not pay."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from jobs.evaluation.compare import Comparison, compare
from jobs.evaluation.measures import Values
from jobs.tune.settings import Setting, Tuner
from rerank.config import BUNDLED
from rerank.ranking.fusion import FusionMethod


class Verdict(StrEnum):
    """Does reranking pay on these queries?"""

    PAYS = "pays"
    UNCLEAR = "unclear"
    HARMS = "harms"


@dataclass(frozen=True, slots=True)
class Mixture:
    """One way of mixing, compared with no mixture on held-out queries; `chosen` is the setting of each fold."""

    name: str
    chosen: tuple[str, ...]
    against_none: Comparison


@dataclass(frozen=True, slots=True)
class Advice:
    """What to run. `gain` compares it with the first stage, on held-out queries."""

    setting: Setting
    verdict: Verdict
    gain: Comparison
    mixtures: tuple[Mixture, ...]


def advise(tuner: Tuner, measure: str) -> Advice:
    """Choose depth and mixture, and measure the choice on held-out queries.

    Each fifth of the queries is reranked with the setting chosen on the other four fifths. A mixture is chosen only if
    the interval of its gain over no mixture is above 0.
    """
    first = tuner.values(Setting(0))
    plain, _ = tuner.held_out(tuner.choose)
    ways: dict[str, tuple[FusionMethod, ...]] = {str(method): (method,) for method in tuner.mixes}
    if len(ways) > 1:
        ways["best of both"] = tuple(tuner.mixes)
    held_out = {name: tuner.held_out(partial(tuner.choose, methods=methods)) for name, methods in ways.items()}
    mixtures = tuple(
        Mixture(name, tuple(_word(setting) for setting in chosen), _compared(measure, plain, values))
        for name, (values, chosen) in held_out.items()
    )
    setting, values = tuner.choose(tuner.all_rows), plain
    if mixtures[-1].against_none.low > 0:
        setting, values = tuner.choose(tuner.all_rows, tuple(tuner.mixes)), held_out[mixtures[-1].name][0]
    gain = _compared(measure, first, values)
    return Advice(setting, verdict_of(gain), gain, mixtures)


def command_line(setting: Setting, manifest: Mapping[str, Any], *, longest: int, min_score: float | None) -> str:
    """Return the recommended `rerank run` line: the model of the run, then the chosen options."""
    model = manifest.get("model", {})
    words = ["rerank", "run", str(manifest.get("source", "IN")), str(manifest.get("output", "OUT")), "--overwrite"]
    name = model.get("name", model.get("model", BUNDLED))
    if name != BUNDLED:
        words += ["--model", str(name)]
    if "max_length" in model:
        words += ["--max-length", str(model["max_length"])]
    if setting.depth < longest:
        words += ["--depth", str(setting.depth)]
    if setting.mix is not None:
        words += ["--mix", str(setting.mix)]
    if min_score is not None:
        words += ["--min-score", f"{min_score:g}"]
    return shlex.join(words)


def _compared(measure: str, before: Values, after: Values) -> Comparison:
    return compare([measure], before[:, None], after[:, None])[0]


def verdict_of(gain: Comparison) -> Verdict:
    """Return whether a gain with this interval pays."""
    if gain.low > 0:
        return Verdict.PAYS
    return Verdict.HARMS if gain.high < 0 else Verdict.UNCLEAR


def _word(setting: Setting) -> str:
    return "none" if setting.mix is None else str(setting.mix)
