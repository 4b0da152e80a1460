"""Look scores up instead of computing them: the identity of the scorer, and a snapshot of its score store."""

import pickle
from dataclasses import dataclass
from functools import lru_cache

from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.encoding.windows import Splitter
from rerank.errors import RerankError
from rerank.fingerprint import ModelIdentity, identify, pin
from rerank.store import Damage, Part, ScoreStore, Snapshot


@dataclass(frozen=True, slots=True)
class ScoreLookup:
    """A score store with the parts that were there when the run began: the run looks up in these only."""

    store: ScoreStore
    parts: tuple[Part, ...]


def open_score_lookup(uri: str, identity: ModelIdentity) -> ScoreLookup:
    """Open the scores of this scorer in the store at `uri`. Raises InputError or OutputError."""
    store = ScoreStore(uri, identity.fingerprint)
    store.describe(identity.as_json())
    return ScoreLookup(store, store.parts())


@lru_cache(maxsize=4)  # each stage of a cascade has one
def open_snapshot(lookup: ScoreLookup) -> Snapshot:
    """Return the snapshot, which the workers of a node share; it stays open for the life of the process."""
    return Snapshot.open(lookup.store, parts=lookup.parts)


def damaged_parts(lookup: ScoreLookup) -> list[Damage]:
    """Return the parts of the store that cannot be read, whose pairs are scored again. Runs on a node that scores.

    The snapshot is there for the workers of that node then. This process does not keep it open.
    """
    return Snapshot.open(lookup.store, parts=lookup.parts).damaged


def resolve(scorer: ScorerConfig) -> tuple[ScorerConfig, ModelIdentity, PairEncoder]:
    """Return the scorer's complete settings, its identity and its encoder.

    The settings have the model's content, this machine's precision and the tokens of a passage.

    Runs on a worker like those that will score, because the driver may have neither their GPU nor the model.
    Raises ModelError if the tokenizer cannot be loaded or the model is no cross-encoder, ConfigError if the device is
    missing or a passage does not fit into the model's limit.
    """
    from rerank.engines import kind_of, load_encoder
    from rerank.engines.check_config import check_config
    from rerank.engines.device.precision import pick_dtype_name

    dtype = pick_dtype_name(scorer)
    pinned = pin(scorer).model_copy(update={"dtype": dtype})
    encoder = load_encoder(pinned)
    check_config(pinned)
    if pinned.passages is not None:
        tokens = Splitter(encoder, pinned.passages).sizes.tokens
        pinned = pinned.model_copy(update={"passages": pinned.passages.model_copy(update={"tokens": tokens})})
    identity = identify(
        pinned,
        max_length=encoder.max_length,
        template=encoder.template,
        dtype=dtype,
        kind=kind_of(pinned).value,
        text_format=encoder.text_format,
    )
    return pinned, identity, encoder


def is_resolved_at_once(scorer: ScorerConfig) -> bool:
    """Return whether `resolve` takes a moment here, because the model's files and the system tell all that it needs."""
    from rerank.encoding.tokenizer import needs_transformers
    from rerank.engines.device.precision import dtype_name_of_system

    try:
        return dtype_name_of_system(scorer) is not None and not needs_transformers(scorer)
    except RerankError:
        return False  # `resolve` says what is wrong


def resolve_and_ship(scorer: ScorerConfig) -> tuple[ScorerConfig, ModelIdentity, PairEncoder | None]:
    """Return what `resolve` does, with None for an encoder that cannot be pickled (its tokenizer has parts in Python).

    A process that receives the encoder need not load it, which would import transformers and torch: seconds each time.
    """
    resolved, identity, encoder = resolve(scorer)
    try:
        pickle.dumps(encoder)
    except Exception:  # tokenizers raises nothing narrower
        return resolved, identity, None
    return resolved, identity, encoder
