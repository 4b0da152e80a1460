"""What a run may look up instead of scoring: the scorer's identity, and the snapshot of its score store."""

import getpass
import os
import pickle
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.fingerprint import ModelIdentity, identify
from rerank.store import Damage, Part, ScoreStore, Snapshot


@dataclass(frozen=True, slots=True)
class ScoreLookup:
    """A score store and the parts of it that a run looks up in: those that were there when it began."""

    store: ScoreStore
    parts: tuple[Part, ...]


def open_score_lookup(uri: str, identity: ModelIdentity) -> ScoreLookup:
    """The part of the store at `uri` that belongs to this scorer. Raises InputError or OutputError."""
    store = ScoreStore(uri, identity.fingerprint)
    store.describe(identity.as_json())
    return ScoreLookup(store, store.parts())


@lru_cache(maxsize=2)
def open_snapshot(scores: ScoreLookup) -> Snapshot:
    """The snapshot, shared by the workers of this node and kept for the life of the process."""
    cache = os.environ.get("RERANK_CACHE") or Path(tempfile.gettempdir(), f"rerank-{getpass.getuser()}")
    return Snapshot.open(scores.store, cache, parts=scores.parts)


def damaged_parts(scores: ScoreLookup) -> list[Damage]:
    """The parts of the store that cannot be read, whose pairs are scored again; runs on a worker."""
    return open_snapshot(scores).damaged


def resolve(scorer: ScorerConfig) -> tuple[ScorerConfig, ModelIdentity, PairEncoder]:
    """The settings with their precision pinned to what this machine's device takes, the scorer's identity and encoder.

    Runs on a worker like those that will score: the driver may have neither their GPU nor the model. Raises ModelError
    where the tokenizer cannot be loaded or the model is no cross-encoder, ConfigError where the device is not there.
    """
    from rerank.encoding.tokenizer import load_encoder
    from rerank.engines.declared import check_declared
    from rerank.engines.device.choices import pick_device, pick_dtype

    dtype = str(pick_dtype(scorer.dtype, pick_device(scorer.device))).removeprefix("torch.")
    encoder = load_encoder(scorer)
    check_declared(scorer)
    identity = identify(scorer, max_length=encoder.max_length, template=encoder.template, dtype=dtype)
    return scorer.model_copy(update={"dtype": dtype}), identity, encoder


def resolve_and_ship(scorer: ScorerConfig) -> tuple[ScorerConfig, ModelIdentity, PairEncoder | None]:
    """What `resolve` gives, with None for an encoder that cannot travel: its tokeniser has parts written in Python.

    Who is given an encoder need not import transformers, and with it torch, to load one: seconds for each process.
    """
    resolved, identity, encoder = resolve(scorer)
    try:
        pickle.dumps(encoder)
    except Exception:  # tokenizers raises no narrower one
        return resolved, identity, None
    return resolved, identity, encoder
