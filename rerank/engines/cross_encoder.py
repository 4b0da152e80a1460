"""The engine of all kinds that read a pair as one row of tokens: batches through a model, padded or packed."""

from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.engines.batches.prefixes import Prefixes
from rerank.engines.batches.runner import BatchRunner
from rerank.engines.classifier import Classifier, load_classifier, load_plain_bert
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

    def prefixes(self, pairs: EncodedPairs) -> Prefixes | None:
        """Return the prefixes of pairs if those of a batch are computed once each; None if they are not."""
        ...

    def count_tokens(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> tuple[int, int]:
        """Return the tokens that are computed for a batch, and how many of them are padding."""
        ...

    def __call__(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> torch.Tensor:
        """Return logits [pairs in the batch], on the device; `batch` has the longest pair first."""
        ...


class CrossEncoderEngine:
    """A model that reads query and document together and gives one logit, by a padded or packed forward."""

    def __init__(self, config: ScorerConfig, *, packed: bool | None = None, shares_prefixes: bool = True) -> None:
        """Load the model. `packed` forces or forbids packing; None: pack if model family and device can.

        A packed causal model computes what pairs of a query begin with once per batch, unless `shares_prefixes` forbids
        it, for comparisons.

        Raises ModelError or ConfigError.
        """
        self._runner = BatchRunner(config)
        kind = kind_of(config)
        loaded = _load(config, kind, self._runner.device, self._runner.dtype, packed)
        self._forward = _forward_of(loaded, self._runner.device, self._runner.dtype, packed, shares_prefixes)
        self._runner.fit(width=loaded.width, padded=self._forward.padded, is_stateless=is_stateless(loaded.model))
        body = loaded.model.model if isinstance(loaded.model, LastTokenModel) else loaded.model
        self._runner.fit_layers(body, config.model, is_known=family_of(loaded.model) is not None)
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
        batches, scored = self._runner.run(lengths, partial(self._forward, pairs), self._forward.prefixes(pairs))
        if batches:
            logits[np.concatenate(batches)] = torch.cat(scored).float().cpu().numpy()
        counts = [self._forward.count_tokens(pairs, batch) for batch in batches]
        return Scores(logits, sum(computed for computed, _ in counts), padding_tokens=sum(count for _, count in counts))


_LOADERS = {
    Kind.CLASSIFIER: load_classifier,
    Kind.LANGUAGE_MODEL: load_language_model,
    Kind.HIDDEN_STATE: load_hidden_state,
}


def _load(
    config: ScorerConfig, kind: Kind, device: torch.device, dtype: torch.dtype, packed: bool | None
) -> Classifier:
    """Load a model of this kind; by the short way if it is a BERT that will be packed."""
    plain = load_plain_bert(config, dtype) if kind is Kind.CLASSIFIER and packed is not False else None
    if plain is not None and (packed or has_packed_kernel(plain.model, device, dtype)):
        plain.model.to(device)
        return plain
    return _LOADERS[kind](config, device, dtype)


def _forward_of(
    loaded: Classifier, device: torch.device, dtype: torch.dtype, packed: bool | None, shares_prefixes: bool
) -> Forward:
    """Return the fastest forward for this model and device; models of unknown families run unchanged."""
    is_known = family_of(loaded.model) is not None
    if is_known and (packed or (packed is None and has_packed_kernel(loaded.model, device, dtype))):
        return PackedForward(loaded.model, device, takes_types=loaded.takes_types, shares_prefixes=shares_prefixes)
    return PaddedForward(
        loaded.model,
        device,
        takes_types=loaded.takes_types,
        pads_left=loaded.pads_left,
        takes_positions=loaded.takes_positions,
    )
