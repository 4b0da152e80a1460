"""`rerank bench language-model`: make a language model of Qwen3-Reranker-0.6B's shape, with random weights."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.bench.options import Candidates, Lengths, SyntheticLengths
from jobs.console import say
from jobs.exits import exit_codes
from rerank.ranking.candidates import CandidateSets

_PAIRS = 25_000  # the tokeniser learns from the texts of so many
# As the config of Qwen3-Reranker-0.6B.
_SHAPE = {
    "vocab_size": 151_669,
    "hidden_size": 1_024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3_072,
    "max_position_embeddings": 40_960,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000},
    "rms_norm_eps": 1e-6,
}
_MAX_LENGTH = 8_192
_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_WORDS = ["<think>", "</think>", "yes", "no"]
_TEMPLATE = (
    "{% set instruction = messages | selectattr('role', 'eq', 'system') | map(attribute='content') | first %}"
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: '
    "{{ instruction or 'Given a web search query, retrieve relevant passages that answer the query' }}\n"
    "<Query>: {{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}\n"
    "<Document>: {{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}"
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


def language_model(
    folder: Annotated[Path, typer.Argument(help="Folder to write, 1.2 GB.")],
    candidates: Candidates = None,
    lengths: SyntheticLengths = Lengths.NQ,
    tied: Annotated[bool, typer.Option(help="Whether the vocabulary head is the input embedding, as there.")] = True,
) -> None:
    """Make a language model of Qwen3-Reranker-0.6B's shape: random weights, and a tokeniser that learns from IN."""
    from jobs.bench.scorer import head_of, synthetic_sets, texts_of

    with exit_codes():
        table = synthetic_sets(lengths, 1_000) if candidates is None else head_of(candidates, _PAIRS)
        texts = {text for pair in texts_of(CandidateSets.from_table(table)) for text in pair}
        make_language_model(folder, sorted(texts), tied=tied)
        say(f"wrote {folder}")


def make_language_model(folder: Path, texts: list[str], *, tied: bool = True, **shape: Any) -> None:
    """Save a Qwen3ForCausalLM in bf16 with the chat template of Qwen3-Reranker; `shape` changes its config."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, set_seed

    config = Qwen3Config(**{**_SHAPE, **shape}, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=2)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - len(_WORDS),
        special_tokens=_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEMPLATE, *texts], trainer)
    tokenizer.add_tokens(_WORDS)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        chat_template=_TEMPLATE,
        padding_side="left",
        model_max_length=_MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    set_seed(0)
    Qwen3ForCausalLM(config).bfloat16().save_pretrained(folder)
