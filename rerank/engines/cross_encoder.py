"""The engine of all kinds that read a pair as one row of tokens: batches through a model, padded or packed."""

from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.engines.batches.runner import BatchRunner
from rerank.engines.classifier import Classifier, load_classifier
from rerank.engines.contract import Scores
from rerank.engines.forward.families import family_of, is_stateless
from rerank.engines.forward.last_token import LastTokenModel
from rerank.engines.forward.packed import PackedForward, has_packed_kernel
from rerank.engines.forward.padded import PaddedForward
from rerank.engines.hidden_state import load_hidden_state
from rerank.engines.kinds import Kind, kind_of
from rerank.engines.language_model import load_language_model


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
    """A model that reads query and document together and gives one logit, by a padded or packed forward."""

    def __init__(self, config: ScorerConfig, *, packed: bool | None = None) -> None:
        """Load the model. `packed` forces or forbids packing; None: pack if model family and device can.

        Raises ModelError or ConfigError.
        """
        self._runner = BatchRunner(config)
        kind = kind_of(config)
        loaded = _LOADERS[kind](config, self._runner.device, self._runner.dtype)
        self._forward = _forward_of(loaded, self._runner.device, self._runner.dtype, packed)
        self._runner.fit(width=loaded.width, padded=self._forward.padded, is_stateless=is_stateless(loaded.model))
        body = loaded.model.model if isinstance(loaded.model, LastTokenModel) else loaded.model
        self._runner.fit_layers(body, config, self.score, is_known=family_of(loaded.model) is not None)
        self.lanes = self._runner.lanes
        self.description = {
            "model": config.model,
            "kind": kind.value,
            "engine": "padded" if self._forward.padded else "packed",
            **self._runner.describe(),
        }

    def score(self, pairs: EncodedPairs) -> Scores:
        """Return the logit of each pair, NaN for pairs without tokens, with a single copy from the device.

        Halves the batch size, permanently, if memory runs out. Raises EngineLostError if the device no longer responds,
        otherwise whatever the model raises.
        """
        lengths = pairs.lengths
        logits = np.full(len(pairs), np.nan, dtype=np.float32)
        batches, scored = self._runner.run(lengths, partial(self._forward, pairs))
        if batches:
            logits[np.concatenate(batches)] = torch.cat(scored).float().cpu().numpy()
        return Scores(logits, sum(self._forward.computed_tokens(lengths[batch]) for batch in batches))


_LOADERS = {
    Kind.CLASSIFIER: load_classifier,
    Kind.LANGUAGE_MODEL: load_language_model,
    Kind.HIDDEN_STATE: load_hidden_state,
}


def _forward_of(loaded: Classifier, device: torch.device, dtype: torch.dtype, packed: bool | None) -> Forward:
    """Return the fastest forward for this model and device; models of unknown families run unchanged."""
    is_known = family_of(loaded.model) is not None
    if is_known and (packed or (packed is None and has_packed_kernel(loaded.model, device, dtype))):
        return PackedForward(loaded.model, device, takes_types=loaded.takes_types)
    return PaddedForward(
        loaded.model,
        device,
        takes_types=loaded.takes_types,
        pads_left=loaded.pads_left,
        takes_positions=loaded.takes_positions,
    )
