"""A cross-encoder that begins as the bi-encoder it is cut from: two texts read apart, and a last layer that compares.

A bi-encoder's weights know what a text means, not that there is another text beside it. Trained from there as they
are, they spend most of their training on finding out. So two things are written into the weights before it begins:

1. `keep_apart`: every head's attention prefers tokens of its own segment. A coordinate of the hidden state that the
   teacher does not use carries the segment's sign through all layers, and in each head the least used dimension of
   query and key makes way for it.
2. `compare_means`: in the last layer the first token attends evenly to query and document, five heads each, and the
   feed-forward network multiplies the two means, coordinate by coordinate, out of pairs of GELUs: their cosine.

Both are weights like any other: training is free to loosen the first and to improve on the second.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from jobs.train.teacher import Floats

SIGN = 3.0  # what the segment's coordinate holds, with a plus for the query
PREFERENCE = 2.5  # added to the attention logit of a token of the same segment, subtracted for the other
SHARPNESS = 3.0  # the same in the last layer's ten comparing heads
COMPARED = 160  # principal directions of the teacher's vectors that are compared: 32 for each of five heads
LOUDNESS = 16.0  # of the two means against the first token's own state
COSINE_UNITS, POOLED = 6.0, 0.1  # what a cosine of one becomes in the hidden state, and its share in the pooler

Inputs = tuple[Tensor, Tensor, Tensor]  # ids, segments, mask: each (pairs, tokens)


def unused_coordinate(model: BertForSequenceClassification) -> int:
    """The coordinate that the last normalisation scales down most: what it holds, no later reader sees."""
    last: Any = model.bert.encoder.layer[-2]  # the last one of the teacher's
    return int(last.output.LayerNorm.weight.abs().argmin())


@torch.no_grad()
def observe(model: BertForSequenceClassification, batches: Sequence[Inputs]) -> dict[nn.Module, Tensor]:
    """What each normalisation reads and each query and key projection gives: (tokens, width), without padding."""
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
    """Transforms (32, 32) of a head's queries and keys that keep every product, the least used dimension last.

    After them the second moments of both are the same diagonal, in falling order: balanced truncation.
    """
    keys = keys - keys.mean(0)  # what all keys share does not change the softmax
    moment_q, moment_k = (part.T.double() @ part.double() / len(part) for part in (queries, keys))
    values, vectors = torch.linalg.eigh(moment_q)
    root = vectors * values.clamp_min(1e-9).sqrt() @ vectors.T
    basis, energy, _ = torch.linalg.svd(root @ moment_k @ root)
    size = energy.clamp_min(1e-12) ** 0.25
    return (torch.linalg.inv(root) @ basis * size).T.float(), ((basis / size).T @ root).float()


@torch.no_grad()
def keep_apart(model: BertForSequenceClassification, batches: Sequence[Inputs], sign: int) -> None:
    """Let every head of all layers but the last prefer its own segment; `sign` is the coordinate that tells them."""
    seen, width = observe(model, batches), model.config.hidden_size // model.config.num_attention_heads
    embeddings: Any = model.bert.embeddings
    for table in (embeddings.word_embeddings, embeddings.position_embeddings):
        table.weight[:, sign] = 0
    types = embeddings.token_type_embeddings.weight
    types[1] = types[0]
    usual = {module: read.std(-1, correction=0).median() for module, read in seen.items()}
    small = usual[embeddings.LayerNorm]  # more would drown the words
    types[0, sign], types[1, sign] = small, -small
    for module, spread in usual.items():
        if isinstance(module, nn.LayerNorm):  # pass the sign on as it came, from SIGN to SIGN
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

    `vectors` are the teacher's, of any texts: their principal directions are the ones compared.
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
    # After the normalisation coordinate i has this root mean square; GELU(x) + GELU(-x) is near 0.75 x² at half of it.
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
    """Write both into a student whose last layer is new; gives the coordinate that holds the segment's sign."""
    sign = unused_coordinate(model)
    keep_apart(model, batches, sign)
    compare_means(model, vectors, sign, scale)
    return sign
