"""Errors raised in a worker on cue: when the actor starts, at a block, or by the engine after some blocks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rerank.actor import RerankActor
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Scores


@dataclass(frozen=True)
class RaisingEngine:
    """Raises `error` once it has scored `blocks` blocks; `log` has a line for each attempt, with what was tried."""

    error: Exception
    log: Path
    blocks: int = 0

    lanes = None

    @property
    def description(self) -> dict[str, str]:
        return {"engine": "raising"}

    def score(self, pairs: EncodedPairs) -> Scores:
        if len(self.note(f"block {pairs.join(np.arange(len(pairs)))[0].sum()}")) > self.blocks:
            raise self.error
        return Scores(np.zeros(len(pairs), dtype=np.float32), 0)

    def note(self, attempt: str) -> list[str]:
        """Note the attempt and return all that were noted until now."""
        with self.log.open("a") as log:
            log.write(f"{attempt}\n")
        return self.attempts()

    def attempts(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


class ActorThatCannotStart(RerankActor):
    """Raises the engine's error before there is an actor."""

    def __init__(self, *_: Any, engine: RaisingEngine, **__: Any) -> None:
        engine.note("start")
        raise engine.error
