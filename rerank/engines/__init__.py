"""Engines turn encoded pairs into logits. torch lives here and nowhere else in this package."""

from dataclasses import dataclass
from typing import Protocol

from rerank.config import ScorerConfig
from rerank.encode import EncodedPairs
from rerank.rank import FloatArray


@dataclass(frozen=True, slots=True)
class Scores:
    """Logits of shape [pairs] in the order of the pairs, and the tokens that were computed for them with padding."""

    logits: FloatArray
    computed_tokens: int


class Engine(Protocol):
    """What a scorer must be able to do. An engine is used by one thread at a time."""

    @property
    def description(self) -> dict[str, str]:
        """What runs where: model, device, dtype, engine and library versions; for manifests and /info."""
        ...

    def score(self, pairs: EncodedPairs) -> Scores:
        """The logit of each pair; NaN where the model gave NaN."""
        ...


def load_engine(config: ScorerConfig) -> Engine:
    """The engine for this model and device; imports torch now, not with the package. Raises ModelError."""
    from rerank.engines.cross_encoder import CrossEncoderEngine

    return CrossEncoderEngine(config)
