"""Load the encoder of a model, whatever its kind."""

from functools import lru_cache

from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.engines.kinds import kind_of


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
