"""The cross-encoder engine: batches through a transformers sequence classifier, padded or packed."""

import inspect
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from rerank.config import ScorerConfig
from rerank.cores import available_cores
from rerank.encode import EncodedPairs
from rerank.engines.contract import Scores
from rerank.engines.device import pick_batch_cost, pick_batch_tokens, pick_device, pick_dtype
from rerank.engines.failures import check_device, free_memory, is_out_of_memory
from rerank.engines.families import family_of
from rerank.engines.packed import PackedForward, has_packed_kernel
from rerank.engines.padded import PaddedForward
from rerank.errors import ModelError
from rerank.pack import computed_tokens, plan_batches


class Forward(Protocol):
    """What computes a batch."""

    @property
    def padded(self) -> bool:
        """Whether rows are filled up to the longest."""
        ...

    def __call__(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> torch.Tensor:
        """Logits [pairs in the batch], on the device; `batch` has the longest first."""
        ...


class CrossEncoderEngine:
    """Everything that sentence-transformers' CrossEncoder can load as a classifier with one label.

    That class loads the model and is the oracle of the tests; batching, padding or packing, and the forward are ours.
    """

    def __init__(self, config: ScorerConfig, *, packed: bool | None = None) -> None:
        """`packed` says whether families that can be packed are; by default where the device has a kernel for it."""
        self._device = pick_device(config.device)
        self._dtype = pick_dtype(config.dtype, self._device)
        # A batch of one pair has the same shape in whatever company, and equal shapes are computed alike.
        self._batch_tokens = 1 if config.deterministic else config.batch_tokens or pick_batch_tokens(self._device)
        if self._device.type == "cpu":
            torch.set_num_threads(config.threads or available_cores())
        loaded = _load(config, self._device, self._dtype)
        model = loaded.model.eval()
        self._batch_cost = pick_batch_cost(self._device, self._dtype, getattr(model.config, "hidden_size", None))
        if family_of(model) is None:
            packed = False
        elif packed is None:
            packed = has_packed_kernel(model, self._device, self._dtype)
        kind = PackedForward if packed else PaddedForward
        self._forward: Forward = kind(model, self._device, takes_types=_takes_types(loaded))
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
        lengths, padded = pairs.lengths, self._forward.padded
        batches = plan_batches(lengths, batch_tokens=self._batch_tokens, padded=padded, batch_cost=self._batch_cost)
        logits = np.full(len(pairs), np.nan, dtype=np.float32)
        if batches:
            scored = torch.cat([self._forward(pairs, batch) for batch in batches])
            logits[np.concatenate(batches)] = scored.float().cpu().numpy()
        return Scores(logits, sum(computed_tokens(lengths[batch], padded=padded) for batch in batches))


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
