"""Run batches on a device: how large they are, in how many threads, and what happens when memory runs out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rerank.config import ScorerConfig
from rerank.engines.batches.plan import plan_batches
from rerank.engines.batches.prefixes import Prefixes, is_worthwhile
from rerank.engines.device.allocator import keep_freed_memory
from rerank.engines.device.choices import (
    FLOATS,
    INT8,
    pick_batch_cost,
    pick_batch_tokens,
    pick_device,
    pick_dtype,
    pick_precision,
)
from rerank.engines.device.cores import available_cores
from rerank.engines.device.failures import check_device, free_memory, is_out_of_memory
from rerank.engines.device.thread_lanes import ThreadLanes
from rerank.engines.kernels.library import has_bf16_kernels
from rerank.engines.layers.int8_linear import quantise_layers
from rerank.engines.layers.normed_output import fuse_outputs
from rerank.engines.layers.onednn_linear import bound_kernels, can_reorder_weights, reorder_weights
from rerank.errors import ConfigError

Rows = npt.NDArray[np.intp]


class BatchRunner:
    """The device of an engine, with its precision and threads, and the batches that rows of tokens are cut into."""

    def __init__(self, config: ScorerConfig) -> None:
        """Pick device and precision, and prepare torch for them. Raises ConfigError if there is no such device.

        Call `fit` with the model before the first batch.
        """
        self.device = pick_device(config.device)
        self.precision = pick_precision(config.dtype, self.device)
        self.dtype = pick_dtype(self.precision, self.device)
        self.lanes: ThreadLanes | None = None
        # A batch of a single row has the same shape whatever else is computed, and equal shapes give equal bits.
        self._batch_tokens = 1 if config.deterministic else config.batch_tokens or pick_batch_tokens(self.device)
        self._is_deterministic = config.deterministic
        self._threads = (config.threads or available_cores()) if self.device.type == "cpu" else 1
        if self.device.type == "cpu":
            torch.set_num_threads(self._threads)
            keep_freed_memory()
            bound_kernels()

    def fit(self, *, width: int | None, padded: bool, is_stateless: bool) -> None:
        """Fit the batches to a model: the width of its hidden states, and whether its rows are padded.

        If it `is_stateless`, batches may be computed in several threads.
        """
        self._padded = padded
        self._batch_cost = pick_batch_cost(self.device, self.dtype, width)
        if self._threads > 1 and is_stateless:
            self.lanes = ThreadLanes(self._threads, batch_cost=self._batch_cost or self._batch_tokens)

    def fit_layers(self, model: Any, model_name: str, *, is_known: bool) -> None:
        """Replace the layers of a transformers model by faster ones for this precision, if its family is known.

        Raises ConfigError for int8 if it is not, because nobody has seen how such a model uses its layers.
        """
        if self.precision.startswith(INT8):
            if not is_known:
                raise ConfigError(
                    f"dtype: {model_name!r} cannot run in int8, because {type(model).__name__} is not of a family "
                    f"that can be packed; accepted are auto, {FLOATS}"
                )
            quantise_layers(model)
        if is_known and can_reorder_weights(self.device, self.dtype):
            reorder_weights(model)
        if is_known and self.device.type == "cpu" and has_bf16_kernels(self.dtype):
            fuse_outputs(model)

    def describe(self) -> dict[str, str]:
        """Return device, dtype and torch's version, for the description of an engine."""
        return {
            "device": str(self.device),
            "dtype": self.precision,
            "torch": torch.__version__,
        }

    def run(
        self,
        lengths: npt.NDArray[np.integer],
        compute: Callable[[Rows], Any],
        prefixes: Prefixes | None = None,
    ) -> tuple[list[Rows], list[Any]]:
        """Return the batches that rows of these lengths are cut into, and what `compute` returns for each of them.

        A batch lists rows, longest first; rows without tokens are in none. Nothing is synchronised with the device.
        If `compute` can share `prefixes`, rows with the same one come together, where that saves enough tokens.
        Halves the batch size, permanently, if memory runs out. Raises EngineLostError if the device no longer responds,
        otherwise whatever `compute` raises.
        """
        while True:
            try:
                return self._run(lengths, compute, prefixes)
            except (RuntimeError, MemoryError) as problem:
                check_device(self.device)
                if not is_out_of_memory(problem) or self._batch_tokens <= int(lengths.max(initial=0)):
                    raise
                self._batch_tokens //= 2
            free_memory(self.device)  # here, because the exception kept the tensors of its frames alive

    @torch.inference_mode()
    def _run(
        self, lengths: npt.NDArray[np.integer], compute: Callable[[Rows], Any], prefixes: Prefixes | None
    ) -> tuple[list[Rows], list[Any]]:
        lanes = None if self.lanes is None or self.lanes.contain_this_thread else self.lanes
        plan = partial(
            plan_batches,
            lengths,
            batch_tokens=self._batch_tokens,
            padded=self._padded,
            batch_cost=self._batch_cost,
            share=None if lanes is None else lanes.split_evenly,
        )
        batches = plan(prefixes=prefixes)
        if prefixes is not None:
            saved_tokens = sum(prefixes.take(batch).saved_tokens() for batch in batches)
            batches = batches if is_worthwhile(saved_tokens, lengths) else plan()
        # In a lane a batch is computed by one thread, as deterministic scores always are.
        if lanes is not None and batches and (self._is_deterministic or lanes.is_faster_in_parallel(len(batches))):
            return batches, lanes.map(compute, batches)
        return batches, [compute(batch) for batch in batches]
