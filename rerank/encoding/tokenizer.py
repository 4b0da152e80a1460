"""Load the tokeniser of a model folder or Hub id, and its length limit."""

import copyreg
import logging
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

from rerank.bert.settings import bert_settings
from rerank.bert.tokenizer import load_plain_tokenizer
from rerank.config import ScorerConfig
from rerank.encoding.chat_template import slot_of_chat, slot_of_splice
from rerank.encoding.pair_call import PairCallEncoder
from rerank.encoding.pairs import Encoder, PairEncoder, UnjoinableError
from rerank.encoding.rendered import RenderedEncoder
from rerank.encoding.templated import TemplatedEncoder
from rerank.encoding.text_settings import TextSettings
from rerank.errors import ModelError
from rerank.model_files import ModelFiles, load_failure

# Families that number positions from padding_idx + 1, so that the first position embeddings are never used.
_POSITIONS_AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"})

_log = logging.getLogger(__name__)

_UNLIMITED = 2**31 - 1  # lengths are int32; a tokeniser without a limit says 10^30


def load_pair_encoder(config: ScorerConfig) -> PairEncoder:
    """Return the encoder of a model that reads query and document together; warns if it is a slow one.

    Raises ModelError.
    """
    tokenizer, settings = load_parts(config)
    text_settings = TextSettings.of(ModelFiles.of(config))
    max_length = length_limit(config, tokenizer, settings, text_settings.max_length)
    backend = tokenizer.backend_tokenizer
    chat = text_settings.chat_template(tokenizer, settings.model_type)
    if chat is None:
        return _joined(config, backend, max_length, text_settings.prompt)
    if config.split_special_tokens:
        raise ModelError(
            f"{config.model!r} has a chat template, which spells out special tokens: it cannot be used with "
            "split_special_tokens"
        )
    chat.check(config.model)
    splice = chat.splice()
    slot = None if splice is None else slot_of_splice(chat, splice)
    try:
        if splice is None:
            raise UnjoinableError("the chat template changes the texts or moves them")
        return TemplatedEncoder(backend, splice, max_length=max_length, slot=slot)
    except UnjoinableError as problem:
        _log.warning("%s: %s; every pair is tokenised by itself, which takes longer", config.model, problem)
        if splice is None:
            return RenderedEncoder(backend, chat, max_length=max_length, slot=slot_of_chat(chat))
        return RenderedEncoder(backend, splice, max_length=max_length, slot=slot)


def _joined(config: ScorerConfig, tokenizer: Tokenizer, max_length: int, prompt: str) -> PairEncoder:
    try:
        return Encoder(tokenizer, max_length=max_length, prompt=prompt)
    except UnjoinableError as problem:
        _log.warning("%s: %s; every pair is tokenised by itself, which takes longer", config.model, problem)
        return PairCallEncoder(tokenizer, max_length=max_length, prompt=prompt)


def load_parts(config: ScorerConfig) -> tuple[Any, Any]:
    """Return the tokeniser and configuration of a model, by transformers where they need it.

    Raises ModelError if either cannot be used.
    """
    if (plain := _load_plain_parts(config)) is not None:
        return plain
    try:
        tokenizer, settings = load_tokenizer(config), load_settings(config)
    except (OSError, ValueError, KeyError) as problem:
        raise load_failure(config, "the tokeniser", problem) from problem
    if not tokenizer.is_fast:
        raise ModelError(f"{config.model!r} has no fast tokeniser (tokenizer.json), which is required")
    if tokenizer.truncation_side != "right":
        raise ModelError(f"{config.model!r} truncates texts on the {tokenizer.truncation_side}, supported is the right")
    return tokenizer, settings


def length_limit(config: ScorerConfig, tokenizer: Any, settings: Any, most: int | None = None) -> int:
    """Return the most tokens of a row: `max_length` of the user, else the least of the model's own limits.

    Raises ModelError if the user's is above the positions of the model. `most` is a further limit of the model.
    """
    positions = _positions(settings)
    if config.max_length is not None and config.max_length > positions:
        raise ModelError(f"max_length must be at most {positions}, the positions of the model, got {config.max_length}")
    return config.max_length or min(int(tokenizer.model_max_length), positions, most or _UNLIMITED)


def needs_transformers(config: ScorerConfig) -> bool:
    """Return whether the tokeniser and configuration of a model are loaded by transformers.

    Raises ModelError if a file is damaged, and UnavailableError if the Hub cannot be reached.
    """
    return _load_plain_parts(config) is None


def _load_plain_parts(config: ScorerConfig) -> tuple[Any, Any] | None:
    """Return both for a BERT whose files leave nothing to transformers, which takes three seconds to import."""
    settings = bert_settings(config)
    if settings is None:
        return None
    tokenizer = load_plain_tokenizer(ModelFiles.of(config), split_special_tokens=config.split_special_tokens)
    if tokenizer is None:
        return None
    copyreg.pickle(Tokenizer, _reduce)
    return tokenizer, settings


@lru_cache(maxsize=4)
def load_tokenizer(config: ScorerConfig) -> Any:
    """Return the transformers tokeniser of a model; raises what transformers raises."""
    from transformers import AutoTokenizer

    copyreg.pickle(Tokenizer, _reduce)
    # A tokeniser may declare this itself, which stays.
    options = {"split_special_tokens": True} if config.split_special_tokens else {}
    return _pretrained(AutoTokenizer, config, **options)


def _reduce(tokenizer: Tokenizer) -> tuple[Any, ...]:
    """Pickle with a tokeniser whether it splits special tokens: its own pickle loses that."""
    return _restore, (tokenizer.to_str(), tokenizer.encode_special_tokens)


def _restore(serialized: str, splits_special_tokens: bool) -> Tokenizer:
    copyreg.pickle(Tokenizer, _reduce)  # this process may send it on
    tokenizer = Tokenizer.from_str(serialized)
    tokenizer.encode_special_tokens = splits_special_tokens
    return tokenizer


@lru_cache(maxsize=4)
def load_settings(config: ScorerConfig) -> Any:
    """Return the transformers configuration of a model, not to be changed; raises what transformers raises."""
    from transformers import AutoConfig

    return _pretrained(AutoConfig, config)


def _pretrained(kind: Any, config: ScorerConfig, **options: Any) -> Any:
    folder = ModelFiles.of(config).config_folder()
    options |= {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    return kind.from_pretrained(config.location, subfolder=folder.rstrip("/"), **options)


def _positions(model: Any) -> int:
    """Return the most tokens that the model can read (sentence-transformers counts unusable positions too)."""
    positions = getattr(model, "max_position_embeddings", -1)
    if positions == -1:  # relative positions, as in XLNet
        return _UNLIMITED
    if model.model_type in _POSITIONS_AFTER_PADDING:
        positions -= (model.pad_token_id or 0) + 1
    return int(positions)
