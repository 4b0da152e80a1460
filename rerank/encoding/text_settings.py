"""What a model's files say about the text of a pair, as sentence-transformers reads them: prompt, template, limit."""

from dataclasses import dataclass, field
from typing import Any

from rerank.encoding.chat_template import ChatTemplate, is_structured
from rerank.errors import ModelError
from rerank.model_files import ModelFiles, transformer_folder

_NOT_FOR_RENDERING = frozenset({"padding", "truncation", "max_length", "return_tensors", "restore_suffix"})


@dataclass(frozen=True, slots=True)
class TextSettings:
    """Settings of a model that reads query and document together.

    `prompt` is its default prompt, empty for none. If it `uses_chat`, a chat template renders the pair, with `options`;
    `is_structured` says whether message contents are lists, None if the template itself tells. `max_length` is the
    limit in tokens that its files set besides the tokeniser's.
    """

    prompt: str = ""
    uses_chat: bool | None = None  # None: if the tokeniser has a chat template
    is_structured: bool | None = None
    options: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None

    @classmethod
    def of(cls, files: ModelFiles) -> "TextSettings":
        """Return the settings in these files; those of other classes than CrossEncoder do not count.

        Raises ModelError if the texts are changed in a way that is not supported.
        """
        modules = files.json("modules.json")
        library = files.json("config_sentence_transformers.json") or {}
        if not modules or library.get("model_type") != "CrossEncoder":
            return cls()
        settings = files.json(f"{transformer_folder(modules)}sentence_bert_config.json") or {}
        if settings.get("do_lower_case"):
            raise ModelError(f"{files.location!r} lower-cases its texts (do_lower_case), which is not supported")
        processing = settings.get("processing_kwargs") or {}
        options = {
            name: value
            for name, value in (processing.get("chat_template") or {}).items()
            if name not in _NOT_FOR_RENDERING
        }
        message = (settings.get("modality_config") or {}).get("message")
        message_format = (message or {}).get("format", "auto")
        limits = [settings.get("max_seq_length"), (processing.get("text") or {}).get("max_length")]
        return cls(
            prompt=(library.get("prompts") or {}).get(library.get("default_prompt_name")) or "",
            uses_chat=message is not None,
            is_structured=None if message_format == "auto" else message_format == "structured",
            options=options,
            max_length=min((limit for limit in limits if limit is not None), default=None),
        )

    def chat_template(self, tokenizer: Any, model_type: str) -> ChatTemplate | None:
        """Return how this tokeniser renders pairs; None if it joins them itself."""
        template = tokenizer.chat_template
        if not (template is not None if self.uses_chat is None else self.uses_chat):
            return None
        structured = is_structured(template, model_type) if self.is_structured is None else self.is_structured
        return ChatTemplate(tokenizer, self.prompt, structured, self.options)
