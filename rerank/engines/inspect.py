"""Describe a model from its files and a model without weights: what would run, where, and what it needs."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from rerank.config import ScorerConfig
from rerank.encoding.chat_template import default_instruction
from rerank.encoding.pairs import PairEncoder
from rerank.encoding.text_roles import TextRoles
from rerank.encoding.text_settings import TextSettings
from rerank.encoding.texts import TextEncoder
from rerank.encoding.tokenizer import load_settings, load_tokenizer
from rerank.engines import load_encoder
from rerank.engines.check_config import check_config
from rerank.engines.device.choices import pick_batch_tokens, pick_device, pick_dtype, pick_precision
from rerank.engines.forward.families import family_of, positions_of
from rerank.engines.forward.last_token import LastTokenModel
from rerank.engines.forward.packed import has_packed_kernel
from rerank.engines.hidden_state import pools_last_token
from rerank.engines.kinds import Kind, kind_of
from rerank.engines.language_model import answer_tokens, is_plain_decoder
from rerank.model_files import ModelFiles, load_failure


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect_model` finds out. `memory_bytes` are the weights and, roughly, the states of a full batch."""

    model: str
    kind: str
    architecture: str
    parameters: int
    max_length: int
    template: str
    instruction: str | None
    instruction_place: str
    engine: str
    device: str
    dtype: str
    weight_bytes: int
    memory_bytes: int
    relevance: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def inspect_model(config: ScorerConfig) -> Inspection:
    """Describe a model without reading its weights.

    Raises ModelError if it cannot be used, ConfigError for a device that is missing, UnavailableError if the Hub cannot
    be reached.
    """
    kind = kind_of(config)
    encoder = load_encoder(config)
    check_config(config)
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    try:
        model, extra = _skeleton(config, kind)
    except (OSError, ValueError, KeyError, ImportError) as problem:
        raise load_failure(config, "the architecture", problem) from problem
    settings = model.config.get_text_config()
    is_packed = (family_of(model) or positions_of(model)) is not None and has_packed_kernel(model, device, dtype)
    parameters = sum(weights.numel() for weights in model.parameters()) + extra
    weight_bytes = parameters * dtype.itemsize
    width = getattr(settings, "hidden_size", 0)
    states = 4 * width + 3 * (getattr(settings, "intermediate_size", None) or 4 * width)  # of a token in one layer
    batch_tokens = config.batch_tokens or pick_batch_tokens(device)
    return Inspection(
        model=config.model,
        kind=kind.value,
        architecture=", ".join(settings.architectures or model.config.architectures or [type(model).__name__]),
        parameters=parameters,
        max_length=encoder.max_length,
        template=template_text(config, encoder),
        instruction=_prompt(config, encoder) or None,
        instruction_place=encoder.instruction_place.value,
        engine="packed" if is_packed else "padded",
        device=str(device),
        dtype=pick_precision(config.dtype, device),
        weight_bytes=weight_bytes,
        memory_bytes=weight_bytes + batch_tokens * states * dtype.itemsize,
        relevance=encoder.relevance.value,
    )


def _prompt(config: ScorerConfig, encoder: PairEncoder) -> str:
    """Return what the model puts before queries, or in the place for an instruction, if it has a default for it."""
    files = ModelFiles.of(config)
    if isinstance(encoder, TextEncoder):
        return TextRoles.of(files).query.prompt
    settings = TextSettings.of(files)
    chat = settings.chat_template(load_tokenizer(config), load_settings(config).model_type)
    return settings.prompt if chat is None else default_instruction(chat)


def template_text(config: ScorerConfig, encoder: PairEncoder) -> str:
    """Return the text of a pair with {query} and {document} in place of the texts; of texts by themselves, both."""
    tokenizer = load_tokenizer(config)
    if isinstance(encoder, TextEncoder):
        roles = TextRoles.of(ModelFiles.of(config))
        texts = (roles.query.prompt + "{query}", roles.document.prompt + "{document}")
        before, behind = (" ".join(tokenizer.convert_ids_to_tokens(ids)) for ids in encoder.special_tokens)
        return " | ".join(" ".join(filter(None, (before, text, behind))) for text in texts)
    settings = TextSettings.of(ModelFiles.of(config))
    chat = settings.chat_template(tokenizer, load_settings(config).model_type)
    if chat is not None:
        return chat.render("{query}", "{document}")
    pieces = [" ".join(tokenizer.convert_ids_to_tokens(list(ids))) for ids in encoder.template.specials]
    return " ".join(filter(None, (pieces[0], settings.prompt + "{query}", pieces[1], "{document}", pieces[2])))


def _skeleton(config: ScorerConfig, kind: Kind) -> tuple[Any, int]:
    """Return the model as its engine loads it, without weights, and how many parameters stand beside it."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

    settings = load_settings(config)
    with torch.device("meta"):
        build: Any = AutoModel
        if kind is Kind.CLASSIFIER:
            build = AutoModelForSequenceClassification
        elif kind is Kind.LANGUAGE_MODEL and not is_plain_decoder(config):
            build = AutoModelForCausalLM
        model = build.from_config(settings, trust_remote_code=config.trust_remote_code)
        if kind is Kind.HIDDEN_STATE:
            packs = is_plain_decoder(config) and pools_last_token(ModelFiles.of(config))
            return LastTokenModel(model, torch.nn.Identity()) if packs else model, settings.hidden_size + 1
        if kind is Kind.LANGUAGE_MODEL and build is AutoModel:
            rows = len(answer_tokens(config)) * settings.hidden_size
            return LastTokenModel(model, torch.nn.Identity()), rows
        return model, 0
