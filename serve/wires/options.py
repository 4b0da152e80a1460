"""The options of vLLM's requests: where texts are cut, what is returned, and what is refused."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from rerank.errors import InputError
from rerank.types import TokenLimits
from serve.wires.fields import Count, Instruction, Integer, Label, Refused, Unread
from serve.wires.read import check_count, read_instruction


class VllmOptions(BaseModel):
    """The options of vLLM's rerank and score requests."""

    max_tokens_per_doc: Count = Field(
        default=None,
        description="Cut each document to this many of the model's tokens before pairing it.",
    )
    truncate_prompt_tokens: Integer | None = Field(
        default=None,
        description="Cut each pair to this many tokens, special tokens included; -1: the model's limit.",
        json_schema_extra={"minimum": -1, "not": {"const": 0}},
    )
    truncation_side: Annotated[Any, Refused("texts are cut at their end", neutral=("right",))] = None
    use_activation: bool | None = Field(default=None, description="false: return logits instead of relevance scores.")
    activation: bool | None = Field(default=None, description="An older name of `use_activation`.")
    softmax: bool | None = Field(default=None, description="An older name of `use_activation`.")
    request_id: str | None = Field(default=None, description="The `id` of the response; X-Request-Id if left out.")
    padding: Annotated[Any, Refused("scores do not depend on padding", neutral=("do_not_pad",))] = None
    priority: Annotated[Any, Refused("waiting requests take turns", neutral=(0,))] = None
    instruction: Instruction = None
    instruct: Instruction = Field(default=None, description="Another name of `instruction` (SGLang).")
    chat_template: Unread = None
    chat_template_kwargs: Unread = None
    mm_processor_kwargs: Unread = None
    user: Label = None
    cache_salt: Label = None

    @property
    def wants_logits(self) -> bool:
        """True if the request asks for logits instead of relevance scores."""
        return False in (self.use_activation, self.activation, self.softmax)

    @property
    def chosen_instruction(self) -> str | None:
        """The instruction, None for none. Raises InputError if its two names have different ones."""
        return read_instruction(instruction=self.instruction, instruct=self.instruct)

    @property
    def token_limits(self) -> TokenLimits:
        """The limits at which texts are cut. Raises InputError naming the field."""
        pair_tokens = self.truncate_prompt_tokens
        if pair_tokens is not None and pair_tokens != -1 and pair_tokens < 1:
            raise InputError(f"truncate_prompt_tokens must be -1 or at least 1, got {pair_tokens}")
        document_tokens = check_count(self.max_tokens_per_doc, "max_tokens_per_doc")
        return TokenLimits(document_tokens, None if pair_tokens == -1 else pair_tokens)
