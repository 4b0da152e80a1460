"""Kinds of models: which one a model is, told by what its files declare and never by its name; loads no weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from rerank.config import ScorerConfig
from rerank.errors import ModelError
from rerank.model_files import ModelFiles, transformer_folder


class Kind(StrEnum):
    """A way to score pairs. Each one has a module of its own in `rerank.engines`."""

    CLASSIFIER = "sequence classifier"
    LANGUAGE_MODEL = "language model"
    HIDDEN_STATE = "hidden state with a dense layer"
    LATE_INTERACTION = "late interaction"
    VECTOR = "one vector per text"

    @property
    def encodes_texts_alone(self) -> bool:
        """Return whether the engine encodes queries and documents by themselves and compares their vectors."""
        return self in {Kind.LATE_INTERACTION, Kind.VECTOR}


_ACCEPTED = "accepted are models of the kinds " + ", ".join(kind.value for kind in Kind)

# Modules of sentence-transformers, by the last part of their names in modules.json.
_LATE_INTERACTION = frozenset({"MultiVectorEncoder", "ColBERT"})  # model_type in config_sentence_transformers.json
_VECTOR_MODULES = frozenset({"Transformer", "Pooling", "Dense", "Normalize"})


@dataclass(frozen=True, slots=True)
class Declared:
    """What a model's files say about it.

    `modules` are the class names in modules.json, in order, none without that file, and `packages` those that they come
    from. `library_type` is the class of sentence-transformers that saved the model, and `task` what its Transformer
    module is for; both are empty if the files do not say.
    """

    architectures: tuple[str, ...]
    model_type: str
    modules: tuple[str, ...]
    packages: frozenset[str]
    library_type: str
    task: str
    out_features: int | None  # of the last Dense module
    is_multimodal: bool

    def __str__(self) -> str:
        parts = [f"architectures {', '.join(self.architectures)}"] if self.architectures else []
        parts += [f"modules {', '.join(self.modules)}"] if self.modules else []
        return " and ".join(parts) or f"the model type {self.model_type!r} alone"


@lru_cache(maxsize=32)
def declared_by(files: ModelFiles) -> Declared:
    """Return what these files declare. Raises ModelError if there is no config.json, UnavailableError if no Hub."""
    config = files.json("config.json")
    modules: list[dict[str, Any]] = files.json("modules.json") or []
    if not isinstance(config, dict):  # sentence-transformers may keep the transformer in a folder of its own
        config = files.json(f"{transformer_folder(modules)}config.json")
    if not isinstance(config, dict):
        raise ModelError(f"cannot load {files.location!r}: it has no config.json")
    library = files.json("config_sentence_transformers.json") or {}
    dense = [module["path"] for module in modules if module["type"].endswith("Dense")]
    transformer = files.json(f"{transformer_folder(modules)}sentence_bert_config.json") or {} if modules else {}
    return Declared(
        architectures=tuple(config.get("architectures") or ()),
        model_type=str(config.get("model_type", "")),
        modules=tuple(module["type"].rpartition(".")[2] for module in modules),
        packages=frozenset(module["type"].partition(".")[0] for module in modules),
        library_type=str(library.get("model_type", "")),
        task=str(transformer.get("transformer_task", "")),
        out_features=(files.json(f"{dense[-1]}/config.json") or {}).get("out_features") if dense else None,
        is_multimodal="vision_config" in config or "audio_config" in config,
    )


def kind_of(config: ScorerConfig) -> Kind:
    """Return the kind of a model.

    Raises ModelError that says what the files declare and which kinds are accepted, and UnavailableError if the Hub
    cannot be reached.
    """
    declared = declared_by(ModelFiles.of(config))
    kind = _kind(declared)
    if kind is None:
        raise ModelError(f"{config.model!r} {_refusal(declared)}; {_ACCEPTED}")
    return kind


def _kind(declared: Declared) -> Kind | None:
    """Return the kind, None if it is not supported."""
    architectures, modules = declared.architectures, declared.modules
    is_late = "MultiVectorMask" in modules or "pylate" in declared.packages or "HF_ColBERT" in architectures
    if is_late or declared.library_type in _LATE_INTERACTION:
        return Kind.LATE_INTERACTION
    if declared.is_multimodal or declared.task == "any-to-any":
        return None
    if "LogitScore" in modules:
        return Kind.LANGUAGE_MODEL
    if declared.library_type == "CrossEncoder" and "Dense" in modules:
        return Kind.HIDDEN_STATE if declared.out_features == 1 else None
    if _ends(architectures, "ForSequenceClassification") and set(modules) <= {"Transformer"}:
        return Kind.CLASSIFIER
    if "Pooling" in modules:
        is_vector = declared.library_type in {"", "SentenceTransformer"} and set(modules) <= _VECTOR_MODULES
        return Kind.VECTOR if is_vector else None
    if _ends(architectures, "ForSequenceClassification"):
        return Kind.CLASSIFIER
    if _ends(architectures, "ForCausalLM") and not modules:
        return Kind.LANGUAGE_MODEL
    return None if architectures else Kind.CLASSIFIER  # transformers then takes the type's classifier


def _refusal(declared: Declared) -> str:
    """Return what is wrong with a model of none of the kinds."""
    if declared.is_multimodal or declared.task == "any-to-any":
        return f"declares {declared}: a multimodal reranker, which is not supported"
    if _ends(declared.architectures, "ForRanking"):
        return f"declares {declared}: a listwise reranker, which is not supported"
    if declared.modules:
        return f"declares {declared}"
    return f"has the weights of {', '.join(declared.architectures)}, without a classifier"


def _ends(names: Sequence[str], end: str) -> bool:
    return any(name.endswith(end) for name in names)
