"""What may happen in a worker, on cue: an error when the actor starts or after some blocks, or a death."""

import os
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


@dataclass(frozen=True)
class DyingEngine:
    """Ends its process at the second call, of which there is one for each slice of a block; `log` has them all."""

    log: Path
    lanes = None

    @property
    def description(self) -> dict[str, str]:
        return {"engine": "dying"}

    def score(self, pairs: EncodedPairs) -> Scores:
        with self.log.open("a") as log:
            log.write(f"{len(pairs)}\n")
        if len(self.log.read_text().splitlines()) == 2:
            os._exit(1)
        return Scores(np.zeros(len(pairs), dtype=np.float32), 0)


class ActorThatCannotStart(RerankActor):
    """Raises the engine's error before there is an actor."""

    def __init__(self, *_: Any, engine: RaisingEngine, **__: Any) -> None:
        engine.note("start")
        raise engine.error
