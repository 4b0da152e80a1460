"""BERT for packed rows, equal to that of transformers, whose import takes seconds: equal layers of equal names."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.overrides import TorchFunctionMode

from rerank.bert.settings import BertSettings
from rerank.engines.forward.attention import Packing, packed_attention

_NOT_WEIGHTS = frozenset({"bert.embeddings.position_ids"})  # position numbers, which older files hold


class BertForSequenceClassification(nn.Module):
    """A BERT with a classifier; `PackedForward` calls its parts."""

    base_model_prefix = "bert"

    def __init__(self, config: BertSettings) -> None:
        super().__init__()
        self.config = config
        self.bert = _Bert(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)


def load_bert(config: BertSettings, weights: Path, dtype: torch.dtype) -> BertForSequenceClassification | None:
    """Return the model with the weights of a safetensors file; None if the file has others than the model needs."""
    with torch.device("meta"), _WithoutRandomWeights():
        model = BertForSequenceClassification(config)
    expected = model.state_dict()
    with safe_open(weights, framework="pt") as file:
        names = set(file.keys()) - _NOT_WEIGHTS
        if names != expected.keys():
            return None
        if any(tuple(file.get_slice(name).get_shape()) != tuple(expected[name].shape) for name in names):
            return None
        model.load_state_dict({name: file.get_tensor(name).to(dtype) for name in names}, assign=True)
    return model.requires_grad_(requires_grad=False)


class _WithoutRandomWeights(TorchFunctionMode):
    """Leave new layers without weights: on the meta device drawing them would import torch's compiler, for seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        is_drawing = getattr(func, "__module__", None) == "torch.nn.init"
        return kwargs.get("tensor") if is_drawing else func(*args, **kwargs)


class _Bert(nn.Module):
    def __init__(self, config: BertSettings) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        self.pooler = _Pooler(config)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        *,
        packing: Packing,
        token_type_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> SimpleNamespace:
        """Return an object with `last_hidden_state` [1, tokens, width] for packed rows [1, tokens]."""
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        states = self.embeddings(input_ids, token_type_ids, position_ids)
        for layer in self.encoder.layer:
            states = layer(states, packing=packing)
        return SimpleNamespace(last_hidden_state=states)


class _Embeddings(nn.Module):
    def __init__(self, config: BertSettings) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, ids: torch.Tensor, types: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        # In this order, because floats round: other orders give other bits than transformers.
        states = self.word_embeddings(ids) + self.token_type_embeddings(types)
        output: torch.Tensor = self.LayerNorm(states + self.position_embeddings(positions))
        return output


class _Encoder(nn.Module):
    def __init__(self, config: BertSettings) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_Layer(config) for _ in range(config.num_hidden_layers)])


class _Layer(nn.Module):
    def __init__(self, config: BertSettings) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = _Intermediate(config)
        self.output = ProjectedSum(config.intermediate_size, config)

    def forward(self, states: torch.Tensor, *, packing: Packing) -> torch.Tensor:
        return self.feed_forward_chunk(self.attention(states, packing=packing))

    def feed_forward_chunk(self, states: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.output(self.intermediate(states), states)
        return output


class _Attention(nn.Module):
    def __init__(self, config: BertSettings) -> None:
        super().__init__()
        self.self = _SelfAttention(config)
        self.output = ProjectedSum(config.hidden_size, config)

    def forward(self, states: torch.Tensor, *, packing: Packing) -> torch.Tensor:
        output: torch.Tensor = self.output(self.self(states, packing=packing), states)
        return output


class _SelfAttention(nn.Module):
    is_causal = False

    def __init__(self, config: BertSettings) -> None:
        super().__init__()
        self.num_attention_heads = config.num_attention_heads
        self.attention_head_size = config.hidden_size // config.num_attention_heads
        self.scaling = self.attention_head_size**-0.5
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states: torch.Tensor, *, packing: Packing) -> torch.Tensor:
        query, key, value = (
            project(states).unflatten(-1, (-1, self.attention_head_size)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        mixed, _ = packed_attention(self, query, key, value, None, packing=packing, scaling=self.scaling)
        return mixed.flatten(2)


class _Intermediate(nn.Module):
    def __init__(self, config: BertSettings) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.intermediate_act_fn = nn.GELU()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.intermediate_act_fn(self.dense(states))
        return output


class ProjectedSum(nn.Module):
    """The projection behind an attention or a feed-forward network, added to what went in."""

    def __init__(self, width: int, config: BertSettings) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, states: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Return states [..., width] for what a network computed, `states`, and its input, `before` [..., width]."""
        output: torch.Tensor = self.LayerNorm(self.dense(states) + before)
        return output


class _Pooler(nn.Module):
    def __init__(self, config: BertSettings) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = nn.Tanh()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.activation(self.dense(states[:, 0]))
        return output
