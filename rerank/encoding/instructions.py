"""Instructions: texts that tell a model what makes a document relevant, one for each query or none.

A chat template may have a place for one; other models read it in front of the query, as if it were part of the query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rerank.encoding.chat_template import TEXT_PROBES, ChatTemplate, Splice

_MARK = "Zi9INSTRUCTIONi9Z"
_PROBES = ("Find the answer.", " two\nlines, {{ x }} <b> ", "Was ist gefragt? 配送状況")

Instructions = Sequence[str] | None
"""The instruction of each query, empty for none; None: no query has one."""


class InstructionPlace(StrEnum):
    """Where a model reads an instruction."""

    TEMPLATE = "in its place in the template"
    QUERY = "in front of the query"


@dataclass(frozen=True, slots=True)
class InstructionSlot:
    """The place for an instruction before the query: `splice` has a mark there.

    Instructions are stripped if `strips`.
    """

    splice: Splice
    strips: bool

    def fill(self, instruction: str) -> Splice:
        """Return the constant text with this instruction instead of the model's own."""
        text = instruction.strip() if self.strips else instruction
        return replace(self.splice, prefix=self.splice.prefix.replace(_MARK, text))


@dataclass(frozen=True, slots=True)
class ChatSlot:
    """The place for an instruction anywhere in a template that is rendered for each pair."""

    chat: ChatTemplate

    def fill(self, instruction: str) -> ChatTemplate:
        """Return the template with this instruction instead of the model's own."""
        return replace(self.chat, prompt=instruction)


def slot_of_splice(chat: ChatTemplate, splice: Splice) -> InstructionSlot | None:
    """Return the place for an instruction in the constant text before the query; None if it has none there."""
    try:
        marked = replace(chat, prompt=_MARK).splice()
        if marked is None or marked.prefix.count(_MARK) != 1 or replace(marked, prefix=splice.prefix) != splice:
            return None
        for strips in (False, True):
            slot = InstructionSlot(marked, strips)
            if all(_fills_as(chat, slot, instruction) for instruction in _PROBES):
                return slot
    except Exception:  # Jinja's, or the template's own: it may refuse system messages
        return None
    return None


def default_instruction(chat: ChatTemplate) -> str:
    """Return what stands in the place for an instruction if nobody gives one; empty if nothing does."""
    splice = chat.splice()
    slot = None if splice is None else slot_of_splice(chat, splice)
    if splice is None or slot is None:
        return chat.prompt
    before, _, behind = slot.splice.prefix.partition(_MARK)
    text = splice.prefix
    is_there = len(text) >= len(before + behind) and text.startswith(before) and text.endswith(behind)
    return text[len(before) : len(text) - len(behind)] if is_there else ""


def slot_of_chat(chat: ChatTemplate) -> ChatSlot | None:
    """Return the place for an instruction in a template that is rendered for each pair; None if it has none."""
    try:
        rendered = replace(chat, prompt=_MARK).render("alpha", "bravo")
    except Exception:  # as in `slot_of_splice`
        return None
    return ChatSlot(chat) if rendered.count(_MARK) == 1 else None


def _fills_as(chat: ChatTemplate, slot: InstructionSlot, instruction: str) -> bool:
    filled, rendered = slot.fill(instruction), replace(chat, prompt=instruction)
    return all(filled.render(*pair) == rendered.render(*pair) for pair in TEXT_PROBES[:3])


def in_front(queries: Sequence[str], instructions: Instructions) -> list[str]:
    """Return the queries, each with its instruction in front of it, if it has one."""
    if instructions is None:
        return list(queries)
    return [with_instruction(query, instruction) for query, instruction in zip(queries, instructions, strict=True)]


def with_instruction(query: str, instruction: str) -> str:
    """Return the query with the instruction in front of it; a space stands between them unless one is there."""
    if not instruction or instruction[-1].isspace():
        return instruction + query
    return f"{instruction} {query}"
