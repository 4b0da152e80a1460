"""Engines turn encoded pairs into logits. torch lives here and nowhere else in this package.

Each kind of model (`rerank.engines.kinds`) has an encoder, which turns texts into token ids, and an engine, which turns
token ids into logits. The rest of the package handles all kinds alike. For kinds that encode queries and documents by
themselves EncodedPairs hold whole rows, special tokens included, with an empty template.

To add a kind: name it in `kinds.py`, give it a module here, and load that in `load_encoder` and `load_engine`.
"""

from contextlib import suppress
from functools import lru_cache
from importlib import import_module

from rerank.bert.settings import bert_settings
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.engines.contract import Engine, Scores, ThreadLanes, VectorEngine
from rerank.engines.kinds import Kind, kind_of

__all__ = [
    "Engine",
    "Kind",
    "Scores",
    "ThreadLanes",
    "VectorEngine",
    "import_engine",
    "kind_of",
    "load_encoder",
    "load_engine",
]

_MODULES = {Kind.LATE_INTERACTION: "rerank.engines.late_interaction", Kind.VECTOR: "rerank.engines.vectors"}


@lru_cache(maxsize=4)
def load_encoder(config: ScorerConfig) -> PairEncoder:
    """Return the encoder of a model, cached in this process; warns if it is a slow one.

    Raises ModelError, and UnavailableError if the Hub cannot be reached.
    """
    if kind_of(config).encodes_texts_alone:
        from rerank.encoding.texts import load_text_encoder

        return load_text_encoder(config)
    from rerank.encoding.tokenizer import load_pair_encoder

    return load_pair_encoder(config)


def import_engine(config: ScorerConfig) -> None:
    """Import what `load_engine` will need, which takes seconds. Errors are left to it."""
    with suppress(Exception):
        import_module(_MODULES.get(kind_of(config), "rerank.engines.cross_encoder"))
        if bert_settings(config) is None:
            import_module("transformers.modeling_utils")


def load_engine(config: ScorerConfig) -> Engine:
    """Return the engine for this model and device; torch is imported here.

    Raises ModelError or ConfigError, and UnavailableError if the Hub cannot be reached.
    """
    match kind_of(config):
        case Kind.LATE_INTERACTION:
            from rerank.engines.late_interaction import load_late_interaction

            return load_late_interaction(config)
        case Kind.VECTOR:
            from rerank.engines.vectors import load_vectors

            return load_vectors(config)
        case _:
            from rerank.engines.cross_encoder import CrossEncoderEngine

            return CrossEncoderEngine(config)
