"""Render a pair by a model's chat template, as sentence-transformers does: messages with a role for each text.

The system message is the place for an instruction, if the template renders it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rerank.errors import ModelError

# Content in these places shows that a template expects lists of typed parts; sentence-transformers looks for the same.
_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")
_FLAT_TYPES = frozenset({"apertus", "deepseek_v3", "gpt_oss", "seed_oss"})  # where these signs mislead
_ROLES = ("query", "document")
# A pair, and the same with another query or another document: what does not change the text does not reach the model.
_ROLE_PROBES = (("alpha", "bravo"), ("charlie", "bravo"), ("alpha", "foxtrot"))
_QUERY, _DOCUMENT, _INSTRUCTION = "Zq7QUERYq7Z", "Zd8DOCUMENTd8Z", "Zi9INSTRUCTIONi9Z"
# Texts that a template might change: white space, markup, quotes, escapes, other scripts.
TEXT_PROBES = (
    ("what is this?", "It is a probe."),
    (" two  spaces\t", "ends with a newline\n"),
    ("\n\nq", "  d \n\n"),
    ("{{ x }} {% y %} <b>&amp;</b>", "\"quoted\" 'single' \\n \\ / #!"),
    ("<Document>: no", "<Query>: no\n<Instruct>: 1"),
    ("42", "3.14 %"),
    ("Was kostet's?", "50 € — «gratuit» … 配送状況。 🙂"),
    ("x", "'s ... :: \u00a0"),
)
_INSTRUCTION_PROBES = ("Find the answer.", " two\nlines, {{ x }} <b> ", "Was ist gefragt? 配送状況")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template with everything that it is called with besides the texts.

    `tokenizer` is transformers'. `prompt` is the system message, empty for none. `options` go to the template.
    """

    tokenizer: Any
    prompt: str = ""
    is_structured: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def render(self, query: str, document: str) -> str:
        """Return the text that the model reads for a pair; raises what the template raises."""
        texts = ([("system", self.prompt)] if self.prompt else []) + list(zip(_ROLES, (query, document), strict=True))
        messages = [{"role": role, "content": self._content(text)} for role, text in texts]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **self.options))

    def _content(self, text: str) -> str | list[dict[str, str]]:
        return [{"type": "text", "text": text}] if self.is_structured else text

    def check(self, model: str) -> None:
        """Raise ModelError if the template fails, or loses the query or the document."""
        try:
            rendered = [self.render(*pair) for pair in _ROLE_PROBES]
        except Exception as problem:  # Jinja's, or the template's own
            raise ModelError(
                f"the chat template of {model!r} cannot render a query and a document: {problem}"
            ) from problem
        lost = [role for role, text in zip(_ROLES, rendered[1:], strict=True) if text == rendered[0]]
        if lost:
            raise ModelError(
                f"the chat template of {model!r} loses the {' and the '.join(lost)}: it must render messages with the "
                "roles 'query' and 'document'"
            )

    def splice(self) -> "Splice | None":
        """Return the constant text round query and document; None if the template changes or moves the texts."""
        text = self.render(_QUERY, _DOCUMENT)
        if text.count(_QUERY) != 1 or text.count(_DOCUMENT) != 1 or text.index(_QUERY) > text.index(_DOCUMENT):
            return None
        prefix, _, rest = text.partition(_QUERY)
        middle, _, suffix = rest.partition(_DOCUMENT)
        for strips in (False, True):
            splice = Splice(prefix, middle, suffix, strips)
            if all(splice.render(*pair) == self.render(*pair) for pair in TEXT_PROBES):
                return splice
        return None


def is_structured(template: Any, model_type: str) -> bool:
    """Return whether a chat template expects content as a list of typed parts; sentence-transformers decides so too."""
    if model_type in _FLAT_TYPES:
        return False
    return not isinstance(template, str) or not template or any(sign in template for sign in _STRUCTURED)


@dataclass(frozen=True, slots=True)
class Splice:
    """A rendered pair as constant text round the query and the document; both are stripped first if `strips`."""

    prefix: str
    middle: str
    suffix: str
    strips: bool

    def clean(self, text: str) -> str:
        """Return a text as the template inserts it."""
        return text.strip() if self.strips else text

    def render(self, query: str, document: str) -> str:
        """Return the text that the model reads for a pair."""
        return f"{self.prefix}{self.clean(query)}{self.middle}{self.clean(document)}{self.suffix}"


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
        return replace(self.splice, prefix=self.splice.prefix.replace(_INSTRUCTION, text))


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
        marked = replace(chat, prompt=_INSTRUCTION).splice()
        if marked is None or marked.prefix.count(_INSTRUCTION) != 1 or replace(marked, prefix=splice.prefix) != splice:
            return None
        for strips in (False, True):
            slot = InstructionSlot(marked, strips)
            if all(_fills_as(chat, slot, instruction) for instruction in _INSTRUCTION_PROBES):
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
    before, _, behind = slot.splice.prefix.partition(_INSTRUCTION)
    text = splice.prefix
    is_there = len(text) >= len(before + behind) and text.startswith(before) and text.endswith(behind)
    return text[len(before) : len(text) - len(behind)] if is_there else ""


def slot_of_chat(chat: ChatTemplate) -> ChatSlot | None:
    """Return the place for an instruction in a template that is rendered for each pair; None if it has none."""
    try:
        rendered = replace(chat, prompt=_INSTRUCTION).render("alpha", "bravo")
    except Exception:  # as in `slot_of_splice`
        return None
    return ChatSlot(chat) if rendered.count(_INSTRUCTION) == 1 else None


def _fills_as(chat: ChatTemplate, slot: InstructionSlot, instruction: str) -> bool:
    filled, rendered = slot.fill(instruction), replace(chat, prompt=instruction)
    return all(filled.render(*pair) == rendered.render(*pair) for pair in TEXT_PROBES[:3])
