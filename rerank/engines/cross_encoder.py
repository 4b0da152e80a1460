"""The cross-encoder engine: padded batches through a transformers sequence classifier."""

import inspect
from typing import Any

import numpy as np
import torch

from rerank.config import ScorerConfig
from rerank.cores import available_cores
from rerank.encode import EncodedPairs
from rerank.engines.contract import Scores
from rerank.engines.device import pick_batch_tokens, pick_device, pick_dtype
from rerank.engines.failures import check_device, free_memory, is_out_of_memory
from rerank.engines.first_token import shorten_last_layer
from rerank.errors import ModelError
from rerank.pack import pad, plan_batches, row_mask


class CrossEncoderEngine:
    """Everything that sentence-transformers' CrossEncoder can load as a classifier with one label.

    That class loads the model and is the oracle of the tests; batching, padding and the forward are ours.
    """

    def __init__(self, config: ScorerConfig) -> None:
        self._device = pick_device(config.device)
        self._dtype = pick_dtype(config.dtype, self._device)
        self._batch_tokens = config.batch_tokens or pick_batch_tokens(self._device)
        if self._device.type == "cpu":
            torch.set_num_threads(config.threads or available_cores())
        loaded = _load(config, self._device, self._dtype)
        self._model = loaded.model.eval()
        shorten_last_layer(self._model)
        self._takes_types = _takes_types(loaded)
        self._padding = self._model.config.pad_token_id or 0
        self.description = {
            "model": config.model,
            "engine": "padded",
            "device": str(self._device),
            "dtype": str(self._dtype).removeprefix("torch."),
            "torch": torch.__version__,
        }

    def score(self, pairs: EncodedPairs) -> Scores:
        """The logit of each pair; after running out of memory in batches half as large, from then on.

        Raises EngineLostError where the device answers no more, and else what a batch of one pair raises.
        """
        while True:
            try:
                return self._score(pairs)
            except (RuntimeError, MemoryError) as problem:
                check_device(self._device)
                if not is_out_of_memory(problem) or self._batch_tokens <= int(pairs.lengths.max(initial=0)):
                    raise
                self._batch_tokens //= 2
            free_memory(self._device)  # here, where the exception no longer holds the tensors of its frames

    @torch.inference_mode()
    def _score(self, pairs: EncodedPairs) -> Scores:
        """One copy back from the device, no synchronisation per batch."""
        lengths = pairs.lengths
        batches = plan_batches(lengths, batch_tokens=self._batch_tokens)
        logits = np.empty(len(pairs), dtype=np.float32)
        if batches:
            scored = torch.cat([self._forward(pairs, batch) for batch in batches])
            logits[np.concatenate(batches)] = scored.float().cpu().numpy()
        return Scores(logits, sum(len(batch) * int(lengths[batch[0]]) for batch in batches))

    def _forward(self, pairs: EncodedPairs, batch: Any) -> torch.Tensor:
        ids, types, offsets = pairs.join(batch)
        inputs = {
            "input_ids": pad(ids, offsets, fill=self._padding),
            "attention_mask": row_mask(np.diff(offsets)).astype(np.int64),
        }
        if self._takes_types:
            inputs["token_type_ids"] = pad(types, offsets, fill=0)
        tensors = {name: torch.from_numpy(grid).to(self._device, non_blocking=True) for name, grid in inputs.items()}
        logits: torch.Tensor = self._model(**tensors).logits
        return logits[:, 0]


def _load(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> Any:
    from sentence_transformers import CrossEncoder
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        loaded = CrossEncoder(
            config.location,
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            device=str(device),
            model_kwargs={"dtype": dtype},
        )
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise ModelError(f"cannot load {config.model!r}: {problem}") from problem
    _check(loaded, config.model)
    return loaded


def _check(loaded: Any, name: str) -> None:
    """Refuse what would give other numbers than the oracle's, or no meaningful ones. Raises ModelError."""
    if loaded.num_labels != 1:
        raise ModelError(f"{name!r} gives {loaded.num_labels} scores per pair, a cross-encoder gives 1")
    if len(loaded) != 1 or loaded[0].transformer_task != "sequence-classification":
        raise ModelError(f"{name!r} is no sequence classifier: it has the modules {[type(part) for part in loaded]}")
    trained = loaded.model.config.architectures or [type(loaded.model).__name__]
    if type(loaded.model).__name__ not in trained:  # transformers gives it a random classifier and only warns
        raise ModelError(f"{name!r} has the weights of {', '.join(trained)}, without a classifier")
    if loaded.default_prompt_name is not None or set(loaded[0].modality_config) != {"text"}:
        raise ModelError(f"{name!r} wants a prompt or a chat template round its texts, which is not supported")


def _takes_types(loaded: Any) -> bool:
    # What the tokeniser says that it gives decides, as in transformers: some BERTs were trained without token types.
    given = "token_type_ids" in loaded.tokenizer.model_input_names
    return given and "token_type_ids" in inspect.signature(loaded.model.forward).parameters
