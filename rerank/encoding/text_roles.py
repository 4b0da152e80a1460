"""How a model reads queries and documents that it encodes by themselves: what its files say about prompts and limits.

Read as sentence-transformers reads them, also from files that PyLate or Stanford's ColBERT saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rerank.model_files import ModelFiles, transformer_folder

_PYLATE_KEYS = (
    "query_length",
    "document_length",
    "query_expansion",
    "do_query_expansion",
    "attend_to_expansion_tokens",
    "attend_to_mask_tokens",
    "query_prefix",
    "document_prefix",
    "skiplist_words",
)
_USUAL_EXPANSION = 32  # tokens, in ColBERT's papers
_LATE_SIMILARITIES = frozenset({"maxsim", "meanmaxsim"})
_STANFORD_MARKERS = {"query": "[unused0]", "document": "[unused1]"}


@dataclass(frozen=True, slots=True)
class Expansion:
    """ColBERT's query expansion: queries are filled up to `length` tokens, all of which count in the score.

    `token` fills them; None: the tokeniser's mask token, else its end-of-text token. If `is_fixed`, longer queries are
    truncated to `length`. `attends`: whether other tokens attend to the tokens that were filled in.
    """

    length: int
    token: str | None = None
    is_fixed: bool = True
    attends: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """How queries, or documents, are read: `prompt` is put before the text; `max_length` tokens are kept of both.

    `max_length` counts special tokens; None: as many as the model can read.
    """

    prompt: str = ""
    max_length: int | None = None
    expansion: Expansion | None = None


@dataclass(frozen=True, slots=True)
class TextRoles:
    """The roles of a model, and what else changes its token ids.

    `markers` are prompts that begin with a token which the tokeniser may only know as text. `max_length` is the limit
    in tokens that the files set besides the tokeniser's. `similarity` is the name of the function that compares texts;
    `is_normalized` says whether their vectors have the length 1, so that it gives cosines.
    """

    query: Role
    document: Role
    markers: tuple[str, ...] = ()
    max_length: int | None = None
    lowers_case: bool = False
    similarity: str = "cosine"
    is_normalized: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON values, for fingerprints."""
        return asdict(self)

    @classmethod
    def of(cls, files: ModelFiles) -> "TextRoles":
        """Return what these files say. Raises ModelError if one of them is damaged."""
        library: dict[str, Any] = files.json("config_sentence_transformers.json") or {}
        modules = files.json("modules.json") or []
        saved: dict[str, Any] = files.json(f"{transformer_folder(modules)}sentence_bert_config.json") or {}
        prompts, markers = _prompts(library)
        settings = {**_pylate_settings(library), **saved}
        config = files.json("config.json") or {}
        if "HF_ColBERT" in (config.get("architectures") or ()):
            metadata: dict[str, Any] = files.json("artifact.metadata") or {}
            markers = _stanford_markers(metadata)
            prompts = {**markers, **{role: prompt for role, prompt in prompts.items() if prompt is not None}}
            settings = {**_stanford_settings(metadata), **settings}
        expansion = _expansion(settings.get("query_expansion"))
        is_old = not modules or library.get("model_type") == "ColBERT"  # those of Stanford and PyLate always normalise
        is_late = is_old or _has(modules, "MultiVectorMask")
        similarity = library.get("similarity_fn_name")
        if is_late:
            similarity = similarity if similarity in _LATE_SIMILARITIES else "maxsim"
        return cls(
            Role(prompts.get("query") or "", _query_length(settings.get("query_length"), expansion), expansion),
            Role(prompts.get("document") or "", settings.get("document_length")),
            markers=tuple(markers.values()),
            max_length=settings.get("max_seq_length"),
            lowers_case=bool(settings.get("do_lower_case")),
            similarity=similarity or "cosine",
            is_normalized=similarity in {None, "cosine"} or is_old or _has(modules, "Normalize"),
        )


def vector_width(files: ModelFiles, *, hidden_size: int) -> int | None:
    """Return how wide the vectors of a model for single texts are, None if its files do not say.

    `hidden_size` is the width of its transformer's states.
    """
    if "HF_ColBERT" in ((files.json("config.json") or {}).get("architectures") or ()):
        return (files.json("artifact.metadata") or {}).get("dim")
    dense = [module for module in files.json("modules.json") or [] if module["type"].endswith("Dense")]
    if not dense:
        return hidden_size
    return (files.json(f"{dense[-1]['path']}/config.json") or {}).get("out_features")


def _has(modules: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(module["type"].endswith(name) for module in modules)


def _prompts(library: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the prompts by role, and those that begin with a marker: PyLate saved markers by themselves."""
    prompts, markers = dict(library.get("prompts") or {}), {}
    for role in ("query", "document"):
        if f"{role}_prefix" in library:
            marker = library[f"{role}_prefix"] or ""
            markers[role] = marker
            prompts[role] = marker + (prompts.get(role) or "").removeprefix(marker)
    return prompts, markers


def _pylate_settings(library: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that PyLate saved in the library's file instead of the transformer's."""
    settings = {
        name: library[name]
        for name in ("query_length", "document_length", "query_expansion")
        if name in library and (library[name] is not None or name == "query_expansion")
    }
    if "query_expansion" in settings or not any(name in library for name in _PYLATE_KEYS):
        return settings
    if library.get("do_query_expansion") is False:
        return {**settings, "query_expansion": None}
    attends = library.get("attend_to_expansion_tokens", library.get("attend_to_mask_tokens"))
    length = settings.pop("query_length", None) or _USUAL_EXPANSION
    return {**settings, "query_expansion": {"strategy": "fixed", "attend": bool(attends), "length": length}}


def _stanford_markers(metadata: Mapping[str, Any]) -> dict[str, str]:
    names = {"query": "query_token_id", "document": "doc_token_id"}
    return {role: (metadata.get(name) or _STANFORD_MARKERS[role]) + " " for role, name in names.items()}


def _stanford_settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    expansion = {
        "strategy": "fixed",
        "attend": bool(metadata.get("attend_to_mask_tokens")),
        "length": metadata.get("query_maxlen") or _USUAL_EXPANSION,
    }
    return {"query_expansion": expansion, "document_length": metadata.get("doc_maxlen")}


def _expansion(settings: Mapping[str, Any] | None) -> Expansion | None:
    if settings is None:
        return None
    is_fixed = settings.get("strategy") == "fixed"
    return Expansion(settings["length"], settings.get("token"), is_fixed, bool(settings.get("attend")))


def _query_length(length: int | None, expansion: Expansion | None) -> int | None:
    """Return the most tokens of a query: a fixed expansion sets it, another one is its least."""
    if expansion is None:
        return length
    if expansion.is_fixed:
        return expansion.length
    return None if length is None else max(length, expansion.length)
