"""Initial weights of the student: it reads the two texts separately, and its last layer computes their cosine.

A bi-encoder's weights represent the meaning of one text, and do not expect a second text in the input. A cross-encoder
that starts from them unchanged spends most of its training on learning that. So two things are written into the weights
before training:

1. `keep_apart`: in every head, attention prefers tokens of the same segment. A coordinate of the hidden state that the
   teacher does not use carries the segment's sign through all layers; in each head it replaces the least used dimension
   of query and key.
2. `compare_means`: in the last layer, the first token attends evenly to query and document, with five heads each, and
   the feed-forward network multiplies the two means coordinate by coordinate, using pairs of GELUs: their cosine.

Training may change both like all other weights.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from jobs.train.teacher import Floats

SIGN = 3.0  # value of the segment's coordinate; positive for the query
PREFERENCE = 2.5  # added to the attention logit of a token of the same segment, subtracted for the other
SHARPNESS = 3.0  # the same, in the ten comparing heads of the last layer
COMPARED = 160  # principal directions of the teacher's vectors that are compared: 32 for each of five heads
LOUDNESS = 16.0  # weight of the two means relative to the first token's own state
COSINE_UNITS, POOLED = 6.0, 0.1  # value of a cosine of 1 in the hidden state, and its weight in the pooler

Inputs = tuple[Tensor, Tensor, Tensor]  # ids, segments, mask: each (pairs, tokens)


def unused_coordinate(model: BertForSequenceClassification) -> int:
    """Return the coordinate that the last normalisation scales down most, so that later layers do not use it."""
    last: Any = model.bert.encoder.layer[-2]  # the teacher's last layer
    return int(last.output.LayerNorm.weight.abs().argmin())


@torch.no_grad()
def observe(model: BertForSequenceClassification, batches: Sequence[Inputs]) -> dict[nn.Module, Tensor]:
    """Return the inputs of each normalisation and the outputs of each query and key projection: (tokens, width)."""
    seen: dict[nn.Module, list[Tensor]] = {}

    def remember(mask: Tensor, take: Callable[[Any, Any], Tensor]) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            seen.setdefault(module, []).append(take(inputs, output)[mask.bool()])

        return hook

    for ids, segments, mask in batches:
        reads = remember(mask, lambda inputs, _: inputs[0])
        gives = remember(mask, lambda _, output: output)
        handles = [
            module.register_forward_hook(gives if name.endswith((".query", ".key")) else reads)
            for name, module in model.bert.named_modules()
            if name.endswith((".query", ".key", "LayerNorm"))
        ]
        model.bert(input_ids=ids, token_type_ids=segments, attention_mask=mask)
        for handle in handles:
            handle.remove()
    return {module: torch.cat(parts) for module, parts in seen.items()}


def balance(queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return transforms (32, 32) of a head's queries and keys that keep all products; the least used dimension is last.

    The second moments of both then are the same diagonal matrix, in falling order (balanced truncation).
    """
    keys = keys - keys.mean(0)  # a constant in all keys does not change the softmax
    moment_q, moment_k = (part.T.double() @ part.double() / len(part) for part in (queries, keys))
    values, vectors = torch.linalg.eigh(moment_q)
    root = vectors * values.clamp_min(1e-9).sqrt() @ vectors.T
    basis, energy, _ = torch.linalg.svd(root @ moment_k @ root)
    size = energy.clamp_min(1e-12) ** 0.25
    return (torch.linalg.inv(root) @ basis * size).T.float(), ((basis / size).T @ root).float()


@torch.no_grad()
def keep_apart(model: BertForSequenceClassification, batches: Sequence[Inputs], sign: int) -> None:
    """Make every head of all layers but the last prefer its own segment; `sign` is the segment's coordinate."""
    seen, width = observe(model, batches), model.config.hidden_size // model.config.num_attention_heads
    embeddings: Any = model.bert.embeddings
    for table in (embeddings.word_embeddings, embeddings.position_embeddings):
        table.weight[:, sign] = 0
    types = embeddings.token_type_embeddings.weight
    types[1] = types[0]
    usual = {module: read.std(-1, correction=0).median() for module, read in seen.items()}
    small = usual[embeddings.LayerNorm]  # a larger value would outweigh the words
    types[0, sign], types[1, sign] = small, -small
    for module, spread in usual.items():
        if isinstance(module, nn.LayerNorm):  # keep the value of the sign at SIGN
            module.weight[sign], module.bias[sign] = spread, 0
    embeddings.LayerNorm.weight[sign] = SIGN
    layers: Any = model.bert.encoder.layer
    gain = math.sqrt(PREFERENCE * math.sqrt(width)) / SIGN
    for layer in layers[:-1]:
        attention = layer.attention.self
        for start in range(0, model.config.hidden_size, width):
            head = slice(start, start + width)
            pair = (attention.query, attention.key)
            for part, turn in zip(pair, balance(*(seen[part][:, head] for part in pair)), strict=True):
                part.weight[head], part.bias[head] = turn @ part.weight[head], turn @ part.bias[head]
        for part in (attention.query, attention.key):
            part.weight[width - 1 :: width], part.bias[width - 1 :: width] = 0, 0
        for reader in (attention.query, attention.key, attention.value, layer.intermediate.dense):
            reader.weight[:, sign] = 0
        for writer in (layer.attention.output.dense, layer.output.dense):
            writer.weight[sign], writer.bias[sign] = 0, 0
        for part in (attention.query, attention.key):
            part.weight[width - 1 :: width, sign] = gain


@torch.no_grad()
def compare_means(model: BertForSequenceClassification, vectors: Floats, sign: int, scale: float) -> None:
    """Make the last layer, pooler and head give `scale` * (cosine - 1/2) of the means of the two segments.

    `vectors` are the teacher's, of any texts; their principal directions are compared.
    """
    layer: Any = model.bert.encoder.layer[-1]
    width, both = model.config.hidden_size // model.config.num_attention_heads, 2 * COMPARED
    spectrum, directions = torch.linalg.eigh(torch.from_numpy(vectors.T @ vectors).double() / len(vectors))
    spectrum, directions = spectrum.flip(0)[:COMPARED].float(), directions.flip(1)[:, :COMPARED].T.float()
    for name, weight in layer.named_parameters():
        nn.init.constant_(weight, "LayerNorm" in name and name.endswith("weight"))
    attention, mix = layer.attention.self, layer.attention.output.dense
    for weight in (attention.value.weight, mix.weight, layer.intermediate.dense.weight, layer.output.dense.weight):
        nn.init.normal_(weight, std=0.01)
    gain = math.sqrt(SHARPNESS * math.sqrt(width))
    attention.query.bias[0:both:width] = gain
    attention.key.weight[0:COMPARED:width, sign] = gain / SIGN
    attention.key.weight[COMPARED:both:width, sign] = -gain / SIGN
    loudness = math.sqrt(LOUDNESS)
    attention.value.weight[:both] = loudness * directions.repeat(2, 1)
    mix.weight[:both] = 0
    mix.weight[range(both), range(both)] = loudness
    # The root mean square of coordinate i after normalisation; GELU(x) + GELU(-x) is near 0.75 x² at half of it.
    usual = (model.config.hidden_size / 2 * spectrum / spectrum.sum()).sqrt()
    products, rows = both + 1, torch.arange(COMPARED)
    layer.output.dense.weight[products] = 0
    for place, (first, second, sum_sign) in enumerate(((1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1))):
        units = place * COMPARED + rows
        layer.intermediate.dense.weight[units] = 0
        layer.intermediate.dense.weight[units, rows] = first * 0.5 / usual
        layer.intermediate.dense.weight[units, COMPARED + rows] = second * 0.5 / usual
        layer.output.dense.weight[:, units] = 0
        cosine = COSINE_UNITS / (model.config.hidden_size / 2) / (4 * 0.75)
        layer.output.dense.weight[products, units] = sum_sign * cosine * usual**2 / 0.25
    pooler, head = model.bert.pooler.dense, model.classifier
    nn.init.normal_(pooler.weight, std=0.02)
    nn.init.zeros_(pooler.bias)
    pooler.weight[0] = 0
    pooler.weight[0, products] = POOLED
    nn.init.zeros_(head.weight)
    head.weight[0, 0] = scale / (COSINE_UNITS * POOLED)
    nn.init.constant_(head.bias, -scale / 2)


def splice(model: BertForSequenceClassification, batches: Sequence[Inputs], vectors: Floats, scale: float) -> int:
    """Write both into a student whose last layer is new; return the coordinate of the segment's sign."""
    sign = unused_coordinate(model)
    keep_apart(model, batches, sign)
    compare_means(model, vectors, sign, scale)
    return sign
