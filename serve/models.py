"""The models that a server serves, by public name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rerank.types import EncodeRequest, EncodeResult, RerankRequest, RerankResult
from serve.errors import UnknownModelError


class Scorer(Protocol):
    """A model that runs in this process or elsewhere."""

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Rank one request. Raises RerankError."""
        ...

    async def encode(self, request: EncodeRequest) -> EncodeResult:
        """Encode the texts of one request. Raises RerankError."""
        ...

    async def describe(self) -> dict[str, Any]:
        """Return the model, its device, data type and length limit. Raises UnavailableError."""
        ...

    async def is_running(self) -> bool:
        """Return whether the model runs, however busy it is. It need not answer for that."""
        ...


@dataclass(frozen=True)
class Models:
    """Scorers by public name and alias; the first model answers requests that name no model.

    Models in `may_sleep` are scaled to zero when idle; describing the server must not wake them. Those in
    `with_passages` score long documents passage by passage.
    """

    scorers: Mapping[str, Scorer]
    aliases: Mapping[str, str] = field(default_factory=dict)
    may_sleep: frozenset[str] = frozenset()
    with_passages: frozenset[str] = frozenset()

    @property
    def names(self) -> Sequence[str]:
        """The public names, in the order of the configuration."""
        return list(self.scorers)

    def aliases_of(self, name: str) -> list[str]:
        """Return the aliases of a model."""
        return [alias for alias, public in self.aliases.items() if public == name]

    def find(self, name: str | None) -> tuple[str, Scorer]:
        """Return the public name and scorer for a name or alias, or the first model's. Raises UnknownModelError."""
        public = self.names[0] if name is None else self.aliases.get(name, name)
        if public not in self.scorers:
            raise UnknownModelError(
                f"model {name!r} is not served here, accepted are {', '.join(map(repr, self.names))}"
            )
        return public, self.scorers[public]
