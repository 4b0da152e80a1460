"""The interface of an engine: everything that the rest of the package knows about scoring."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from rerank.arrays import FloatArray
from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.texts import Texts


@dataclass(frozen=True, slots=True)
class Scores:
    """Logits [pairs] in the order of the pairs, and the number of tokens computed for them, padding included.

    `padding_tokens` of these are padding; None: all but the tokens of the pairs. An engine may compute fewer tokens
    than the pairs have, if several pairs begin with the same ones. An engine that encodes texts by themselves needed
    the vectors of `texts`, and remembered those of `remembered_texts` from earlier calls.
    """

    logits: FloatArray
    computed_tokens: int
    padding_tokens: int | None = None
    texts: int = 0
    remembered_texts: int = 0


class ThreadLanes(Protocol):
    """Threads, each with its share of the cores, that may call `Engine.score` concurrently, each with its own pairs."""

    @property
    def count(self) -> int:
        """Return the number of lanes."""
        ...

    @property
    def threads(self) -> Executor:
        """Return an executor with one thread per lane."""
        ...

    def is_faster_in_parallel(self, batch_count: int) -> bool:
        """Return whether running `batch_count` batches in parallel is faster than one after another on all cores."""
        ...

    def split_evenly(self, tokens: int) -> int:
        """Return how many of the `tokens` that are left the next batch gets, so that all lanes end together."""
        ...


class Engine(Protocol):
    """Turns encoded pairs into logits. Only one thread at a time may use it, or the threads of its lanes."""

    @property
    def description(self) -> dict[str, str]:
        """Return model, engine, device, dtype and library versions; for manifests and /info."""
        ...

    @property
    def lanes(self) -> ThreadLanes | None:
        """Return the lanes for concurrent small batches; None if one batch after another is as fast."""
        ...

    def score(self, pairs: EncodedPairs) -> Scores:
        """Return the logit of each pair; NaN if the model returned NaN or the pair has no tokens.

        Raises EngineLostError if this process cannot score any more; all other exceptions concern these pairs only.
        """
        ...


class VectorEngine(Engine, Protocol):
    """An engine of the kinds that encode texts by themselves."""

    def vectors(self, texts: Texts) -> list[FloatArray]:
        """Return the vectors [its vectors, width] of each text. Raises as `score` does."""
        ...
