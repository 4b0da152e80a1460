"""Load the tokeniser of a BERT without transformers, if its files prove that transformers would change nothing."""

from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from rerank.model_files import ModelFiles

_CONFIG = "tokenizer_config.json"
_REBUILT = frozenset({"BertTokenizer", "BertTokenizerFast"})  # of whose tokenizer.json transformers reads parts only
_AS_SAVED = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
_OTHER_FILES = ("added_tokens.json", "chat_template.jinja", "chat_template.json")
_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
_SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# Keys of tokenizer_config.json that do not change the ids of a text.
_IGNORED = frozenset(
    {
        "backend",
        "clean_up_tokenization_spaces",
        "do_basic_tokenize",
        "is_local",
        "local_files_only",
        "max_length",
        "name_or_path",
        "never_split",
        "pad_to_multiple_of",
        "pad_token_type_id",
        "padding_side",
        "stride",
        "truncation_strategy",
    }
)
_USED = frozenset(
    {
        "added_tokens_decoder",
        "do_lower_case",
        "model_input_names",
        "model_max_length",
        "strip_accents",
        "tokenize_chinese_chars",
        "tokenizer_class",
        "truncation_side",
        *_SPECIAL_TOKENS,
    }
)
_MOST_TOKENS = 100_000  # transformers looks into larger ones for a fault of Mistral's


@dataclass(frozen=True, slots=True)
class PlainTokenizer:
    """What the encoders need to know of a tokeniser, under the names that transformers gives it."""

    backend_tokenizer: Tokenizer
    model_max_length: int
    chat_template: None = None
    truncation_side: str = "right"
    is_fast: bool = True


def input_names(files: ModelFiles) -> tuple[str, ...] | None:
    """Return what the tokeniser of a BERT gives to the model; None if only transformers can tell."""
    declared = files.json(_CONFIG)
    if not isinstance(declared, dict) or not declared.keys() <= _USED | _IGNORED:
        return None
    name = declared.get("tokenizer_class")
    if name not in _REBUILT and (name not in _AS_SAVED or "model_input_names" not in declared):
        return None
    return tuple(declared.get("model_input_names", _INPUTS))


def load_plain_tokenizer(files: ModelFiles, *, split_special_tokens: bool) -> PlainTokenizer | None:
    """Return the tokeniser of a BERT; None if transformers may make another one of its files.

    Raises ModelError if a file is damaged, and UnavailableError if the Hub cannot be reached.
    """
    path = files.path("tokenizer.json")
    if path is None or input_names(files) is None or any(files.path(name) for name in _OTHER_FILES):
        return None
    declared, saved = files.json(_CONFIG), files.json("tokenizer.json")
    limit = declared.get("model_max_length")
    if type(limit) is not int or declared.get("truncation_side", "right") != "right":
        return None
    special = _special_tokens(files, declared)
    if special is None or not _is_used_as_saved(declared, saved, special):
        return None
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = split_special_tokens
    return PlainTokenizer(tokenizer, limit)


def _special_tokens(files: ModelFiles, declared: dict[str, Any]) -> dict[str, str] | None:
    """Return the special tokens by name; None if they are declared in another form than as their texts."""
    defaults = _SPECIAL_TOKENS if declared["tokenizer_class"] in _REBUILT else {}
    special = defaults | {name: declared[name] for name in _SPECIAL_TOKENS if name in declared}
    if "added_tokens_decoder" not in declared:  # transformers then reads the older file too
        special |= files.json("special_tokens_map.json") or {}
    is_plain = special.keys() <= _SPECIAL_TOKENS.keys() and all(isinstance(token, str) for token in special.values())
    return special if is_plain else None


def _is_used_as_saved(declared: dict[str, Any], saved: dict[str, Any], special: dict[str, str]) -> bool:
    """Return whether transformers makes the tokeniser that is saved: adds no token, and rebuilds equal parts."""
    vocabulary, added = saved["model"]["vocab"], saved["added_tokens"]
    places = {token["content"]: token["id"] for token in added}
    again = declared.get("added_tokens_decoder")
    if again is not None and {int(place): token for place, token in again.items()} != {
        token["id"]: {name: value for name, value in token.items() if name != "id"} for token in added
    }:
        return False
    direction = (saved["truncation"] or {}).get("direction", "Right")
    if len(vocabulary) >= _MOST_TOKENS or direction != "Right" or not set(special.values()) <= places.keys():
        return False
    if declared["tokenizer_class"] in _AS_SAVED:
        return True
    is_in_place = all(token["special"] and vocabulary.get(token["content"]) == token["id"] for token in added)
    return is_in_place and all(saved[part] == value for part, value in _rebuilt(declared, vocabulary, special).items())


def _rebuilt(declared: dict[str, Any], vocabulary: dict[str, int], special: dict[str, str]) -> dict[str, Any]:
    """Return the parts that transformers gives to a BertTokenizer, whatever tokenizer.json says."""
    cls, sep = special["cls_token"], special["sep_token"]

    def token(name: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": type_id}}

    single = [token(cls, 0), {"Sequence": {"id": "A", "type_id": 0}}, token(sep, 0)]
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": declared.get("tokenize_chinese_chars", True),
            "strip_accents": declared.get("strip_accents"),
            "lowercase": declared.get("do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}, token(sep, 1)],
            "special_tokens": {name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in (cls, sep)},
        },
        "model": {
            "type": "WordPiece",
            "unk_token": special["unk_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }
