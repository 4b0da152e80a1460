"""The cross-encoder engine: batches through a transformers sequence classifier, padded or packed."""

from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.engines.batches import plan_batches
from rerank.engines.classifier import Classifier, load_classifier
from rerank.engines.contract import Scores
from rerank.engines.device.allocator import keep_freed_memory
from rerank.engines.device.choices import pick_batch_cost, pick_batch_tokens, pick_device, pick_dtype
from rerank.engines.device.cores import available_cores
from rerank.engines.device.failures import check_device, free_memory, is_out_of_memory
from rerank.engines.device.thread_lanes import ThreadLanes
from rerank.engines.forward.families import family_of, is_stateless
from rerank.engines.forward.onednn_linear import bound_kernels, can_reorder_weights, reorder_weights
from rerank.engines.forward.packed import PackedForward, has_packed_kernel
from rerank.engines.forward.padded import PaddedForward


class Forward(Protocol):
    """Computes a batch."""

    @property
    def padded(self) -> bool:
        """Return whether rows are padded to the longest one."""
        ...

    def computed_tokens(self, lengths: npt.NDArray[np.integer]) -> int:
        """Return the tokens that are computed for a batch of these lengths, longest first."""
        ...

    def __call__(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> torch.Tensor:
        """Return logits [pairs in the batch], on the device; `batch` has the longest pair first."""
        ...


class CrossEncoderEngine:
    """A sequence classifier (see `load_classifier`) with its own batching and a padded or packed forward."""

    def __init__(self, config: ScorerConfig, *, packed: bool | None = None) -> None:
        """Load the model. `packed` forces or forbids packing; None: pack if model family and device can.

        Raises ModelError or ConfigError.
        """
        self._device = pick_device(config.device)
        self._dtype = pick_dtype(config.dtype, self._device)
        # A batch of a single pair has the same shape whatever else is scored, and equal shapes give equal bits.
        self._batch_tokens = 1 if config.deterministic else config.batch_tokens or pick_batch_tokens(self._device)
        threads = (config.threads or available_cores()) if self._device.type == "cpu" else 1
        if self._device.type == "cpu":
            torch.set_num_threads(threads)
            keep_freed_memory()
            bound_kernels()
        loaded = load_classifier(config, self._device, self._dtype)
        self._batch_cost = pick_batch_cost(self._device, self._dtype, loaded.width)
        self._forward = _forward_of(loaded, self._device, self._dtype, packed)
        has_lanes = threads > 1 and is_stateless(loaded.model)
        self.lanes = ThreadLanes(threads, batch_cost=self._batch_cost or self._batch_tokens) if has_lanes else None
        self._is_deterministic = config.deterministic
        self.description = {
            "model": config.model,
            "engine": "padded" if self._forward.padded else "packed",
            "device": str(self._device),
            "dtype": str(self._dtype).removeprefix("torch."),
            "torch": torch.__version__,
        }

    def score(self, pairs: EncodedPairs) -> Scores:
        """Return the logit of each pair, NaN for pairs without tokens.

        Halves the batch size, permanently, if memory runs out. Raises EngineLostError if the device no longer responds,
        otherwise whatever the model raises.
        """
        while True:
            try:
                return self._score(pairs)
            except (RuntimeError, MemoryError) as problem:
                check_device(self._device)
                if not is_out_of_memory(problem) or self._batch_tokens <= int(pairs.lengths.max(initial=0)):
                    raise
                self._batch_tokens //= 2
            free_memory(self._device)  # here, because the exception kept the tensors of its frames alive

    @torch.inference_mode()
    def _score(self, pairs: EncodedPairs) -> Scores:
        """Return the scores with a single copy from the device, without synchronising after each batch."""
        lengths = pairs.lengths
        lanes = None if self.lanes is None or self.lanes.contain_this_thread else self.lanes
        batches = plan_batches(
            lengths,
            batch_tokens=self._batch_tokens,
            padded=self._forward.padded,
            batch_cost=self._batch_cost,
            share=None if lanes is None else lanes.split_evenly,
        )
        logits = np.full(len(pairs), np.nan, dtype=np.float32)
        if batches:
            compute = partial(self._forward, pairs)
            # In a lane a batch is computed by one thread, as deterministic scores always are.
            if lanes is not None and (self._is_deterministic or lanes.is_faster_in_parallel(len(batches))):
                scored = lanes.map(compute, batches)
            else:
                scored = [compute(batch) for batch in batches]
            logits[np.concatenate(batches)] = torch.cat(scored).float().cpu().numpy()
        return Scores(logits, sum(self._forward.computed_tokens(lengths[batch]) for batch in batches))


def _forward_of(loaded: Classifier, device: torch.device, dtype: torch.dtype, packed: bool | None) -> Forward:
    """Return the fastest forward for this model and device; models of unknown families run unchanged."""
    kind: type[PackedForward | PaddedForward] = PaddedForward
    if family_of(loaded.model) is not None:
        if packed or (packed is None and has_packed_kernel(loaded.model, device, dtype)):
            kind = PackedForward
        if can_reorder_weights(device, dtype):
            reorder_weights(loaded.model)
    return kind(loaded.model, device, takes_types=loaded.takes_types)
