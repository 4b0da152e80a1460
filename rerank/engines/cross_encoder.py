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
from rerank.engines.forward.packed import PackedForward, has_packed_kernel
from rerank.engines.forward.padded import PaddedForward
from rerank.engines.forward.prepacked import bound_kernels, can_reorder_weights, reorder_weights


class Forward(Protocol):
    """What computes a batch."""

    @property
    def padded(self) -> bool:
        """Whether rows are filled up to the longest."""
        ...

    def computed_tokens(self, lengths: npt.NDArray[np.integer]) -> int:
        """Tokens that are computed for a batch of these lengths, longest first."""
        ...

    def __call__(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> torch.Tensor:
        """Logits [pairs in the batch], on the device; `batch` has the longest first."""
        ...


class CrossEncoderEngine:
    """A sequence classifier whose batching, padding or packing, and forward are ours; see `load_classifier`."""

    def __init__(self, config: ScorerConfig, *, packed: bool | None = None) -> None:
        """`packed` says whether families that can be packed are; by default where the device has a kernel for it."""
        self._device = pick_device(config.device)
        self._dtype = pick_dtype(config.dtype, self._device)
        # A batch of one pair has the same shape in whatever company, and equal shapes are computed alike.
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
        """The logit of each pair, NaN for one without tokens; halves the batches for good where memory is short.

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
            # In lanes a batch is in one thread, which deterministic scores always are.
            if lanes is not None and (self._is_deterministic or lanes.is_faster_in_parallel(len(batches))):
                scored = lanes.map(compute, batches)
            else:
                scored = [compute(batch) for batch in batches]
            logits[np.concatenate(batches)] = torch.cat(scored).float().cpu().numpy()
        return Scores(logits, sum(self._forward.computed_tokens(lengths[batch]) for batch in batches))


def _forward_of(loaded: Classifier, device: torch.device, dtype: torch.dtype, packed: bool | None) -> Forward:
    """The fastest forward for this model and device; whatever is not of a known family runs as it is."""
    kind: type[PackedForward | PaddedForward] = PaddedForward
    if family_of(loaded.model) is not None:
        if packed or (packed is None and has_packed_kernel(loaded.model, device, dtype)):
            kind = PackedForward
        if can_reorder_weights(device, dtype):
            reorder_weights(loaded.model)
    return kind(loaded.model, device, takes_types=loaded.takes_types)
