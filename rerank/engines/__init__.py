"""Engines turn encoded pairs into logits. torch lives here and nowhere else in this package."""

from rerank.config import ScorerConfig
from rerank.engines.contract import Engine, Scores, ThreadLanes

__all__ = ["Engine", "ThreadLanes", "Scores", "load_engine"]


def load_engine(config: ScorerConfig) -> Engine:
    """Return the engine for this model and device; torch is imported here. Raises ModelError or ConfigError."""
    from rerank.engines.cross_encoder import CrossEncoderEngine

    return CrossEncoderEngine(config)
