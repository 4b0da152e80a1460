"""Tiny language models made on the spot by sentence-transformers' own modules: random weights, several templates."""

from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, processors

from tests.models import _SHAPE, VOCABULARY, _byte_level, _pieces

MAX_LENGTH = 160

# As Qwen3-Reranker: the end of the template begins with a special token.
QWEN = (
    "{% set system = messages | selectattr('role', 'eq', 'system') | map(attribute='content') | first %}"
    "<|im_start|>system\nAnswer only yes or no.<|im_end|>\n<|im_start|>user\n<Instruct>: "
    "{{ system if system else 'Find what answers the query' }}\n"
    "<Query>: {{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}\n"
    "<Document>: {{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}"
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
# As mxbai-rerank-v2: white space and words behind the document.
WORDS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content | trim }} \n{% endfor %}"
    "You are an expert: is it relevant?\n<|im_start|>assistant\n"
)
# Contents are lists of parts.
PARTS = (
    "{% for m in messages %}<{{ m.role }}>{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
    "{% endif %}{% endfor %}</{{ m.role }}>{% endfor %}Relevant:"
)
# Nothing stands between the texts, whose tokens may merge.
BARE = "{% for m in messages %}{{ m.content }}{% endfor %}"
# The document comes first, so that truncation from the right would cut the query.
DOCUMENT_FIRST = (
    "Document: {{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}\n"
    "Query: {{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}\nRelevant:"
)


@dataclass(frozen=True)
class LanguageModel:
    """What to make: the class, its template (None: texts are joined as pairs), prompt, answer tokens, and more."""

    family: str
    template: str | None = QWEN
    prompt: str | None = None
    tokens: tuple[int, int | None] | None = (300, 301)  # None: no LogitScore module, a plain folder
    tied: bool = True
    dense: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


LANGUAGE_MODELS = {
    "qwen3-prompt": LanguageModel("Qwen3", prompt="Which page helps?"),
    "qwen3-untied": LanguageModel("Qwen3", template=WORDS, tied=False),
    "qwen2-parts": LanguageModel("Qwen2", template=PARTS, tokens=(7, None), tied=False),
    "qwen2-plain": LanguageModel("Qwen2", tokens=None),
    "llama-pair": LanguageModel("Llama", template=None),
    "llama-metaspace": LanguageModel("Llama", template=WORDS, tied=False),
    "mistral-bare": LanguageModel("Mistral", template=BARE, settings={"sliding_window": 20}),
    "gemma2": LanguageModel(
        "Gemma2",
        settings={"final_logit_softcapping": 0.5, "attn_logit_softcapping": 1.0, "sliding_window": 16},
    ),
    "gpt-neox": LanguageModel("GPTNeoX", template=WORDS, tied=False),
    "qwen3-dense": LanguageModel("Qwen3", template=WORDS, dense=True),
    "llama-dense": LanguageModel("Llama", template=None, prompt="find: ", dense=True),
}
PADDED = {"gpt-neox"}


def make_language_model(name: str, folder: Path) -> None:
    """Make the model of this name in a folder, as sentence-transformers saves it."""
    save_language_model(LANGUAGE_MODELS[name], folder, metaspace=name.endswith("metaspace"))


def save_language_model(model: LanguageModel, folder: Path, *, metaspace: bool = False) -> None:
    """Make a model in a folder."""
    import torch
    import transformers
    from sentence_transformers import CrossEncoder

    plain = folder / "plain" if model.tokens or model.dense else folder
    tokenizer = _metaspace() if metaspace else _bytes()
    options = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", "chat_template": model.template}
    names = {"model_input_names": ["input_ids", "attention_mask"], "model_max_length": MAX_LENGTH}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options, **names).save_pretrained(plain)
    config = getattr(transformers, f"{model.family}Config")(
        vocab_size=VOCABULARY + 8,
        max_position_embeddings=MAX_LENGTH + 32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.4,
        tie_word_embeddings=model.tied,
        **({} if model.family == "GPTNeoX" else {"num_key_value_heads": 2, "head_dim": 8}),
        **_SHAPE,
        **model.settings,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        getattr(transformers, f"{model.family}ForCausalLM")(config).save_pretrained(plain)
        if plain == folder:
            return
        modules = _modules(model, str(plain))
        prompts = {"prompts": {"page": model.prompt}, "default_prompt_name": "page"} if model.prompt else {}
        CrossEncoder(modules=modules, device="cpu", **prompts).save_pretrained(str(folder))


def _modules(model: LanguageModel, plain: str) -> list[Any]:
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore
    from sentence_transformers.sentence_transformer.modules import Pooling

    if not model.dense:
        true, false = model.tokens
        return [Transformer(plain, transformer_task="text-generation"), LogitScore(true, false)]
    width = _SHAPE["hidden_size"]
    return [
        Transformer(plain, transformer_task="feature-extraction"),
        Pooling(width, pooling_mode="lasttoken"),
        Dense(width, 1, module_output_name="scores"),
    ]


def _bytes() -> Tokenizer:
    tokenizer = _byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens(["yes", "no"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _metaspace() -> Tokenizer:
    """Unigram that puts a blank before the whole text, and reads white space as blanks."""
    from tokenizers import pre_tokenizers

    normalizer, words = normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="first")
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"]
    pieces = [(piece, -log(place)) for place, piece in enumerate(_pieces(normalizer, words), start=2)]
    tokenizer = Tokenizer(models.Unigram([*((name, 0.0) for name in specials), *pieces], unk_id=3))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, words
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(specials)
    return tokenizer
