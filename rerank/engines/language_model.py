"""Language models that answer yes or no: loaded without the vocabulary head, of which one or two rows are enough."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import safe_open

from rerank.config import ScorerConfig
from rerank.encoding.tokenizer import load_settings, load_tokenizer
from rerank.engines.classifier import Classifier, load_as_library, load_errors
from rerank.engines.forward.families import is_packable_decoder, positions_of
from rerank.engines.forward.last_token import LastTokenModel, TokenLogits
from rerank.engines.library import use_safetensors
from rerank.errors import ModelError
from rerank.model_files import ModelFiles

_HEAD = "lm_head.weight"


def load_language_model(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> Classifier:
    """Load a language model whose score is the logit of one token after the pair, or the difference of two.

    The logits equal those of sentence-transformers' CrossEncoder. Raises ModelError.
    """
    with load_errors(config):
        body = load_decoder(config, dtype)
        if body is None:
            return load_as_library(config, device, dtype)
        rows = _head_rows(config, body, answer_tokens(config))
        softcap = getattr(body.config, "final_logit_softcapping", None)
        score = TokenLogits(rows.float(), softcap=softcap)
        return Classifier(LastTokenModel(body, score).to(device).eval(), takes_types=False)


def load_decoder(config: ScorerConfig, dtype: torch.dtype) -> Any | None:
    """Return a decoder without its head, of an architecture that can be packed; None if the model needs more."""
    from transformers import AutoModel

    if not is_plain_decoder(config):
        return None
    files, settings = ModelFiles.of(config), load_settings(config)
    folder = files.config_folder()
    with without_report():  # which would complain about the head
        body, report = AutoModel.from_pretrained(
            config.location,
            revision=config.revision,
            subfolder=folder.rstrip("/"),
            config=settings,
            dtype=dtype,
            use_safetensors=use_safetensors(config),
            output_loading_info=True,
        )
    if report["missing_keys"]:
        raise ModelError(f"{config.model!r} lacks the weights {', '.join(sorted(report['missing_keys']))}")
    body.config.use_cache = False
    return body if positions_of(body) is not None else None


@contextmanager
def without_report() -> Iterator[None]:
    """Keep transformers from logging which weights a checkpoint lacks, or has beside those of the model."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def is_plain_decoder(config: ScorerConfig) -> bool:
    """Return whether an architecture that can be packed has these weights, without an adapter or code of its own."""
    files, settings = ModelFiles.of(config), load_settings(config)
    has_own_code = config.trust_remote_code and hasattr(settings, "auto_map")
    is_changed = files.path("adapter_config.json") is not None or hasattr(settings, "quantization_config")
    return not has_own_code and not is_changed and all(map(is_packable_decoder, settings.architectures or [""]))


def answer_tokens(config: ScorerConfig) -> list[int]:
    """Return the ids of the tokens whose logits are compared: the positive one, then the negative one if there is one.

    They are those of the LogitScore module, without one those of "yes" and "no". Raises ModelError if there are none.
    """
    files = ModelFiles.of(config)
    for module in files.json("modules.json") or ():
        if module["type"].endswith("LogitScore"):
            settings = files.json(f"{module['path']}/config.json") or {}
            ids = [settings.get("true_token_id"), settings.get("false_token_id")]
            return [token for token in ids if token is not None]
    ids = load_tokenizer(config).convert_tokens_to_ids(["yes", "no"])
    if None in ids:
        raise ModelError(f"{config.model!r} has no LogitScore module and its tokeniser has no tokens 'yes' and 'no'")
    return list(ids)


def _head_rows(config: ScorerConfig, body: Any, tokens: list[int]) -> torch.Tensor:
    """Return rows [tokens, width] of the vocabulary head, which may be the input embedding or a matrix of its own."""
    if not tokens or max(tokens) >= body.config.vocab_size:
        raise ModelError(f"{config.model!r} compares the logits of the tokens {tokens}, which its vocabulary lacks")
    if body.config.tie_word_embeddings:
        rows: torch.Tensor = body.get_input_embeddings().weight.detach()[tokens].clone()
        return rows
    path = _file_of_head(config)
    if path.endswith(".bin"):
        head_of_pickle: torch.Tensor = torch.load(path, weights_only=True, mmap=True)[_HEAD]
        return head_of_pickle[tokens].clone()
    with safe_open(path, framework="pt") as weights:
        head = weights.get_slice(_HEAD)
        return torch.cat([head[token : token + 1] for token in tokens])


def _file_of_head(config: ScorerConfig) -> str:
    """Return the path of the weights file with the vocabulary head; only its slices are read. Raises ModelError."""
    files = ModelFiles.of(config)
    folder = files.config_folder()
    names = ["model.safetensors", "pytorch_model.bin"] if config.allow_pickle else ["model.safetensors"]
    for name in names:
        index = files.json(f"{folder}{name}.index.json")
        path = files.path(folder + (index["weight_map"].get(_HEAD, name) if index else name))
        if path is None:
            continue
        if name.endswith(".bin"):
            return str(path)
        with safe_open(path, framework="pt") as weights:
            if _HEAD in weights.keys():  # noqa: SIM118 (no mapping)
                return str(path)
    raise ModelError(f"{config.model!r} has no vocabulary head ({_HEAD}), and its config does not tie it to the input")
