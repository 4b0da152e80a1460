"""Engines turn encoded pairs into logits. torch lives here and nowhere else in this package."""

from rerank.config import ScorerConfig
from rerank.engines.contract import Engine, Scores, ThreadLanes

__all__ = ["Engine", "ThreadLanes", "Scores", "load_engine"]


def load_engine(config: ScorerConfig) -> Engine:
    """The engine for this model and device; imports torch now, not with the package. Raises ModelError."""
    from rerank.engines.cross_encoder import CrossEncoderEngine

    return CrossEncoderEngine(config)
