"""DeBERTa-v2 over packed rows: its attention adds to the scores what query and key say of the distance between them."""

from typing import Any

import torch
from torch import nn

from rerank.engines.forward.attention import Packing, attend

DEBERTA = "deberta-v2"


class PackedDeberta(nn.Module):
    """A DebertaV2Model that computes packed rows."""

    def __init__(self, model: Any) -> None:
        """Take over the layers of the model, whose config must pass `is_disentangled`."""
        super().__init__()
        self.model, self.config = model, model.config
        self._distances = [_Distances(layer.attention.self, model.encoder) for layer in model.encoder.layer]

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        *,
        packing: Packing,
        **_: Any,
    ) -> Any:
        """Return a transformers output with `last_hidden_state` (1, tokens, width) for ids (1, tokens)."""
        from transformers.modeling_outputs import BaseModelOutput

        states = self.model.embeddings(input_ids, token_type_ids=token_type_ids, position_ids=position_ids)
        for layer, distances in zip(self.model.encoder.layer, self._distances, strict=True):
            mixed = _attend(layer.attention.self, distances, states[0], packing)
            attended = layer.attention.output(mixed[None], states)
            states = layer.output(layer.intermediate(attended), attended)
        return BaseModelOutput(last_hidden_state=states)


def is_disentangled(config: Any) -> bool:
    """Return whether a DeBERTa-v2 has relative positions in both directions, and no convolution."""
    has_both = set(config.pos_att_type or ()) == {"c2p", "p2c"}
    return bool(config.relative_attention and has_both and not getattr(config, "conv_kernel_size", 0))


def _attend(layer: Any, distances: "_Distances", states: torch.Tensor, packing: Packing) -> torch.Tensor:
    heads = (
        project(states).unflatten(-1, (layer.num_attention_heads, -1))
        for project in (layer.query_proj, layer.key_proj, layer.value_proj)
    )
    return attend(*heads, packing=packing, scale=distances.scale, pair_bias=distances.scores).flatten(1)


class _Distances:
    """What a layer adds to the scores: query times key of the distance, and key times query of the distance.

    Both products have a column for each distance, not for each pair of tokens. In a row of the first one the columns
    are one place further than in the row before, so that a view with other strides is the matrix of all pairs.
    """

    def __init__(self, layer: Any, encoder: Any) -> None:
        self._layer, self._encoder = layer, encoder
        self.scale = (3 * layer.attention_head_size) ** -0.5
        self._longest: tuple[torch.Tensor, torch.Tensor] | None = None

    def scores(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Return the scores [rows, heads, length, length] of queries and keys [rows, heads, length, width]."""
        rows, heads, length, _ = query.shape
        count = 2 * length - 1
        to_keys, to_queries = (
            torch.bmm(states.transpose(0, 1).reshape(heads, rows * length, -1), table)
            for states, table in zip((query, key), self._tables(length), strict=True)
        )
        shape, places = (rows, heads, length, length), (length * count, rows * length * count)
        shifted = to_keys.as_strided(shape, (*places, count - 1, 1), length - 1)
        scores: torch.Tensor = shifted + to_queries.as_strided(shape, (*places, 1, count - 1), length - 1)
        return scores

    def _tables(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and queries of the distances in rows of this length, each [heads, width, 2 · length - 1].

        Distances of the keys fall, those of the queries rise. All are scaled.
        """
        tables = self._longest
        if tables is None or tables[0].shape[2] < 2 * length - 1:
            buckets = self._buckets(torch.arange(1 - length, length))
            keys, queries = (rows * self.scale for rows in self._projected())
            self._longest = tables = (keys[:, buckets.flip(0)].mT, queries[:, buckets].mT)
        middle = tables[0].shape[2] // 2
        kept = slice(middle - length + 1, middle + length)
        return tables[0][..., kept], tables[1][..., kept]

    def _buckets(self, distances: torch.Tensor) -> torch.Tensor:
        """Return the rows of the relative embeddings for these distances; far ones share rows."""
        from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

        layer = self._layer
        if layer.position_buckets > 0:
            distances = make_log_bucket_position(distances, layer.position_buckets, layer.max_relative_positions)
        span = layer.pos_ebd_size
        rows: torch.Tensor = (distances.long() + span).clamp(0, 2 * span - 1)
        return rows

    def _projected(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and queries of all relative embeddings, [heads, rows, width] each."""
        layer = self._layer
        projections = (
            (layer.key_proj, layer.query_proj) if layer.share_att_key else (layer.pos_key_proj, layer.pos_query_proj)
        )
        embeddings = self._encoder.get_rel_embedding()[: 2 * layer.pos_ebd_size]
        keys, queries = (
            project(embeddings).unflatten(-1, (layer.num_attention_heads, -1)).transpose(0, 1)
            for project in projections
        )
        return keys, queries
