"""What an engine takes and gives: the whole of what the rest of the package knows about scoring."""

from dataclasses import dataclass
from typing import Protocol

from rerank.encode import EncodedPairs
from rerank.rank import FloatArray


@dataclass(frozen=True, slots=True)
class Scores:
    """Logits of shape [pairs] in the order of the pairs, and the tokens computed for them, padding included."""

    logits: FloatArray
    computed_tokens: int


class Engine(Protocol):
    """What a scorer must be able to do. An engine is used by one thread at a time."""

    @property
    def description(self) -> dict[str, str]:
        """What runs where: model, device, dtype, engine and library versions; for manifests and /info."""
        ...

    def score(self, pairs: EncodedPairs) -> Scores:
        """The logit of each pair; NaN where the model gave NaN or the pair has no tokens.

        Raises EngineLostError where this process can score no more; any other exception is about these pairs alone.
        """
        ...
