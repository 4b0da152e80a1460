"""Render a pair by a model's chat template, as sentence-transformers does: messages with a role for each text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rerank.errors import ModelError

# Content in these places shows that a template expects lists of typed parts; sentence-transformers looks for the same.
_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")
_FLAT_TYPES = frozenset({"apertus", "deepseek_v3", "gpt_oss", "seed_oss"})  # where these signs mislead
_ROLES = ("query", "document")
# A pair, and the same with another query or another document: what does not change the text does not reach the model.
_ROLE_PROBES = (("alpha", "bravo"), ("charlie", "bravo"), ("alpha", "foxtrot"))
_QUERY, _DOCUMENT = "Zq7QUERYq7Z", "Zd8DOCUMENTd8Z"
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
