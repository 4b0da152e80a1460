"""What vLLM's requests hold beside their texts: what is cut, what comes back, and what no model here reads."""

from typing import Literal

from pydantic import BaseModel, Field

from rerank.errors import InputError
from rerank.types import TokenLimits
from serve.wires.fields import Count, Unread
from serve.wires.read import check_top


class VllmOptions(BaseModel):
    """The options of vLLM's rerank and score requests."""

    max_tokens_per_doc: Count = Field(
        default=None, description="Each document is cut to so many of the model's tokens before it is paired."
    )
    truncate_prompt_tokens: int | None = Field(
        default=None,
        description="Each pair is cut to so many tokens, special tokens included; -1: to the model's limit, as ever.",
        json_schema_extra={"minimum": -1, "not": {"const": 0}},
    )
    truncation_side: Literal["right", None] = Field(default=None, description="Texts are cut at their end.")
    use_activation: bool | None = Field(default=None, description="false: logits instead of relevance scores.")
    priority: int | None = Field(default=None, description="Without effect: requests take turns.")
    instruction: Unread = None
    chat_template: Unread = None
    mm_processor_kwargs: Unread = None

    @property
    def token_limits(self) -> TokenLimits:
        """What is cut. Raises InputError naming the field."""
        pair = self.truncate_prompt_tokens
        if pair is not None and pair != -1 and pair < 1:
            raise InputError(f"truncate_prompt_tokens must be at least 1, or -1, got {pair}")
        document = check_top(self.max_tokens_per_doc, "max_tokens_per_doc")
        return TokenLimits(document, None if pair == -1 else pair)
