"""What an engine takes and gives: the whole of what the rest of the package knows about scoring."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from rerank.arrays import FloatArray
from rerank.encoding.pairs import EncodedPairs


@dataclass(frozen=True, slots=True)
class Scores:
    """Logits of shape [pairs] in the order of the pairs, and the tokens computed for them, padding included."""

    logits: FloatArray
    computed_tokens: int


class ThreadLanes(Protocol):
    """The cores shared out among threads that may call `Engine.score` at the same time, each for its own pairs."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    @property
    def threads(self) -> Executor:
        """The threads: as many as lanes."""
        ...

    def is_faster_in_parallel(self, batches: int) -> bool:
        """Whether so many batches are computed sooner side by side than one after the other on all cores."""
        ...

    def split_evenly(self, tokens: int) -> int:
        """Tokens of the next batch out of so many, so that all lanes end together."""
        ...


class Engine(Protocol):
    """What a scorer must be able to do. An engine is used by one thread at a time, or by those of its lanes."""

    @property
    def description(self) -> dict[str, str]:
        """What runs where: model, device, dtype, engine and library versions; for manifests and /info."""
        ...

    @property
    def lanes(self) -> ThreadLanes | None:
        """Threads for those who score little at a time; None where one after the other is as fast."""
        ...

    def score(self, pairs: EncodedPairs) -> Scores:
        """The logit of each pair; NaN where the model gave NaN or the pair has no tokens.

        Raises EngineLostError where this process can score no more; any other exception is about these pairs alone.
        """
        ...
