"""Tiny cross-encoders made on the spot: random weights, a real tokeniser, one folder per model family.

Each is the same whenever it is made, so that a test which passes on a machine passes there again.
"""

import json
from collections.abc import Callable
from functools import partial
from math import log
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

MAX_LENGTH = 96
VOCABULARY = 600

CORPUS = (
    "How do I return a parcel that arrived damaged?",
    "Returns are free within 30 days; print the label, pack the parcel and hand it in at any post office.",
    "The warranty covers broken parts for two years, water damage excepted.",
    "Orders above 50 € ship free of charge: smaller ones cost 4.90 € — see the table of shipping rates.",
    "A cross-encoder reads the query and the document together and gives one relevance score.",
    "Was kostet der Versand nach Österreich, und wie lange dauert er?",
    "Où se trouve le numéro de suivi de ma commande ?",
    "配送状況はどこで確認できますか。 追跡番号を入力してください。",
    "def rank(query, documents): return sorted(documents, key=score, reverse=True)",
    "Passwords can be reset under Settings > Account > Security.",
)

# Logits of random weights must differ clearly, or wrong code would pass: wide weights in a narrow model.
_SHAPE = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 64}
_WIDE = {"initializer_range": 0.4, "num_labels": 1}
# As DeBERTa-v3; from the eighth token on, distances share buckets.
_DEBERTA = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}


def make_bert(folder: Path, *, names: tuple[str, ...] = ("input_ids", "token_type_ids", "attention_mask")) -> None:
    """WordPiece, `[CLS] q [SEP] d [SEP]` with token types. `names`: what the tokeniser says that it gives."""
    from transformers import BertConfig, BertForSequenceClassification

    normalizer, words = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    pieces = _pieces(normalizer, words)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*specials, *pieces, *(f"##{piece}" for piece in pieces)]
    tokenizer = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, words
    tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    _save_tokenizer(
        tokenizer, folder, names, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=MAX_LENGTH, pad_token_id=0, **_SHAPE, **_WIDE)
    _save_model(BertForSequenceClassification, config, folder)


def make_untyped_bert(folder: Path) -> None:
    """A BERT whose tokeniser gives no token types, so that the model takes all of them to be 0."""
    make_bert(folder, names=("input_ids", "attention_mask"))


def _make_like_bert(family: str, folder: Path, **shape: Any) -> None:
    """A model of another family with the tokeniser of the tiny BERT; one without token types."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    make_untyped_bert(folder)
    shape |= {"vocab_size": VOCABULARY, "max_position_embeddings": MAX_LENGTH + 2, **_WIDE}
    (folder / "config.json").unlink()
    _save_model(AutoModelForSequenceClassification.from_config, AutoConfig.for_model(family, **shape), folder)


def make_xlm_roberta(folder: Path) -> None:
    """Unigram over Metaspace, `<s> q </s></s> d </s>`, positions that start behind the padding index."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    normalizer, words = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()]), pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces = [(piece, -log(place)) for place, piece in enumerate(_pieces(normalizer, words), start=2)]
    tokenizer = Tokenizer(models.Unigram([*((name, 0.0) for name in specials), *pieces], unk_id=3))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, words
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    _save_tokenizer(tokenizer, folder, ("input_ids", "attention_mask"), **_ROBERTA_SPECIALS)
    config = XLMRobertaConfig(vocab_size=VOCABULARY, max_position_embeddings=MAX_LENGTH + 2, **_SHAPE, **_WIDE)
    _save_model(XLMRobertaForSequenceClassification, config, folder)


def make_roberta(folder: Path) -> None:
    """Byte-level BPE, `<s>q</s></s>d</s>`."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    tokenizer = _byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    _save_tokenizer(tokenizer, folder, ("input_ids", "attention_mask"), **_ROBERTA_SPECIALS)
    config = RobertaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=MAX_LENGTH + 2, type_vocab_size=1, **_SHAPE, **_WIDE
    )
    _save_model(RobertaForSequenceClassification, config, folder)


def make_modernbert(folder: Path) -> None:
    """Byte-level BPE, rotary positions, one layer of global attention among local ones with a window of 16."""
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    tokenizer = _byte_level(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("input_ids", "attention_mask")
    _save_tokenizer(
        tokenizer, folder, names, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    ids = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    config = ModernBertConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=MAX_LENGTH,
        global_attn_every_n_layers=3,
        local_attention=16,
        initializer_cutoff_factor=3.0,
        **ids,
        **_SHAPE,
        **_WIDE,
    )
    _save_model(ModernBertForSequenceClassification, config, folder)


def make_decoder(family: str, folder: Path, **settings: Any) -> None:
    """A causal model that scores on the last token; no special tokens between the texts, padding on the left."""
    import transformers

    tokenizer = _byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    _save_tokenizer(
        tokenizer,
        folder,
        ("input_ids", "attention_mask"),
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        padding_side="left",
    )
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCABULARY,
        max_position_embeddings=MAX_LENGTH,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
        **_SHAPE,
        **_WIDE,
        **settings,
    )
    _save_model(getattr(transformers, f"{family}ForSequenceClassification"), config, folder)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "bert": make_bert,
    "untyped-bert": make_untyped_bert,
    "xlm-roberta": make_xlm_roberta,
    "roberta": make_roberta,
    "modernbert": make_modernbert,
    "qwen3": partial(make_decoder, "Qwen3"),
}

# Tested in fewer ways, because nothing but the layers differs from the families above.
MORE_FAMILIES: dict[str, Callable[[Path], None]] = {
    "electra": lambda folder: _make_like_bert("electra", folder, embedding_size=16, **_SHAPE),
    "albert": lambda folder: _make_like_bert("albert", folder, embedding_size=16, **_SHAPE),
    "distilbert": lambda folder: _make_like_bert("distilbert", folder, dim=32, n_heads=4, n_layers=3, hidden_dim=64),
    "mpnet": lambda folder: _make_like_bert("mpnet", folder, **_SHAPE),
    "deberta": lambda folder: _make_like_bert("deberta-v2", folder, **_DEBERTA, **_SHAPE),
    "deberta-unshared": lambda folder: _make_like_bert(
        "deberta-v2", folder, **_DEBERTA | {"share_att_key": False, "position_biased_input": True}, **_SHAPE
    ),
    "qwen2": partial(make_decoder, "Qwen2"),
    "llama": partial(make_decoder, "Llama"),
    "gemma2": partial(make_decoder, "Gemma2", attn_logit_softcapping=1.0),
    "mistral": partial(make_decoder, "Mistral", sliding_window=20),
}
_OWN_CODE = """
from transformers import {family}Config, {base}

class AcmeConfig({family}Config):
    model_type = "acme"

class Acme{base}({base}):
    config_class = AcmeConfig

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.{output} = 3 * output.{output}.sin()
        return output
"""


def bring_own_code(folder: Path, *, family: str, head: str, output: str, architecture: str | None = None) -> None:
    """Let a saved model bring a modelling file, whose class changes an `output` of transformers' own class.

    `head` is the end of that class' name. The config declares `architecture`, without one the class of the file.
    """
    base = family + head
    (folder / "acme.py").write_text(_OWN_CODE.format(family=family, base=base, output=output))
    auto = {"AutoConfig": "acme.AcmeConfig", f"AutoModel{head.removeprefix('Model')}": f"acme.Acme{base}"}
    changes = {
        "config.json": {"model_type": "acme", "architectures": [architecture or f"Acme{base}"], "auto_map": auto},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
    }
    for name, values in changes.items():
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | values))


_ROBERTA_SPECIALS = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


def _pieces(normalizer: normalizers.Normalizer, words: pre_tokenizers.PreTokenizer) -> list[str]:
    """Parts of words, the same in every process: trainers of WordPiece and Unigram give others each time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, words
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=VOCABULARY // 3))
    return sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)


def _byte_level(specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=specials, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _save_tokenizer(tokenizer: Tokenizer, folder: Path, names: tuple[str, ...], **options: Any) -> None:
    from transformers import PreTrainedTokenizerFast

    options |= {"model_input_names": list(names), "model_max_length": MAX_LENGTH}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options).save_pretrained(folder)


def _save_model(kind: Any, config: Any, folder: Path) -> None:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(7)
        kind(config).save_pretrained(folder)
