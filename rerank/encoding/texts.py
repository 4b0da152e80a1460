"""Encode queries and documents by themselves, for models that compare the vectors of both.

Rows of such pairs are whole: they hold special tokens and prompts, and the template of the pairs is empty.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Tokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers

from rerank.arrays import IntArray, Offsets, Ragged, offsets_of, spans
from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs, PairTemplate
from rerank.encoding.reading import Checkpoint, never_stop, read_starts, read_tokens
from rerank.encoding.text_roles import Role, TextRoles, vector_width
from rerank.encoding.tokenizer import length_limit, load_parts
from rerank.encoding.truncate import pair_limit, refuse_truncated
from rerank.errors import InputError, ModelError
from rerank.model_files import ModelFiles
from rerank.ranking.instructions import InstructionPlace, Instructions, in_front
from rerank.ranking.relevance import Relevance
from rerank.ranking.vectors import VectorFormat
from rerank.types import AS_THE_MODEL, Output, TokenLimits

_NO_TEMPLATE = PairTemplate(((), (), ()), (0, 0, 0, 0, 0))
_PROBE = "a b"
# By the name of the similarity function, for vectors of length 1.
_RELEVANCE = {
    "cosine": Relevance.COSINE,
    "dot": Relevance.COSINE,
    "meanmaxsim": Relevance.COSINE,
    "maxsim": Relevance.PER_QUERY_VECTOR,
}
_LATE = frozenset({"meanmaxsim", "maxsim"})


@dataclass(frozen=True, slots=True)
class Texts:
    """Rows of token ids, one per text, and which of them are queries [texts]."""

    tokens: Ragged
    is_query: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> Offsets:
        """Return the tokens of each text, special tokens included, shape [texts]."""
        return self.tokens.lengths

    def take(self, rows: npt.NDArray[np.integer]) -> "Texts":
        """Return these texts in this order."""
        return Texts(self.tokens.take(rows), self.is_query[rows])


def load_text_encoder(config: ScorerConfig) -> "TextEncoder":
    """Return the encoder of a model that encodes texts by themselves. Raises ModelError."""
    tokenizer, settings = load_parts(config)
    files = ModelFiles.of(config)
    roles = TextRoles.of(files)
    tokenizer = _prepared(tokenizer, roles)
    return TextEncoder(
        tokenizer.backend_tokenizer,
        roles,
        max_length=length_limit(config, tokenizer, settings, roles.max_length),
        filler=_filler(tokenizer, roles.query),
        relevance=_relevance(config, roles),
        output="multivector" if roles.similarity in _LATE else "dense",
        width=vector_width(files, hidden_size=settings.get_text_config().hidden_size),
    )


class TextEncoder:
    """One model's tokeniser, with the roles of queries and documents."""

    unit = "text"
    template = row_template = _NO_TEMPLATE
    instruction_place = InstructionPlace.QUERY

    def __init__(
        self,
        tokenizer: Tokenizer,
        roles: TextRoles,
        *,
        max_length: int,
        filler: int | None,
        relevance: Relevance,
        output: Output,
        width: int | None = None,
    ) -> None:
        """Take over a tokeniser. `filler` is the id of the token that expands queries, None if they are not expanded.

        `output` is what the model makes of a text, and `width` that of its vectors, None if that is unknown.
        Raises ModelError if `max_length` leaves no room for text.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer, self._filler = tokenizer, filler
        self._before, self._behind = _special_tokens(tokenizer)
        self._roles = [_limited(role, max_length) for role in (roles.query, roles.document)]
        self._prompt_lengths = [len(read_tokens(tokenizer, [role.prompt], max_length)[0]) for role in self._roles]
        self.max_length = self._roles[1].max_length or max_length
        self.relevance = relevance
        self.output = output
        self._width = width
        self.text_format = json.dumps(roles.as_json(), sort_keys=True)
        for role, prompt_length in zip(self._roles, self._prompt_lengths, strict=True):
            if (role.max_length or max_length) <= self._special_count + prompt_length:
                raise ModelError(
                    f"max_length must be above {self._special_count + prompt_length}, the tokens of the prompt and "
                    f"the special tokens of a text, got {role.max_length}"
                )

    @property
    def vector_format(self) -> VectorFormat:
        """Return what vectors of documents must be like. Raises InputError if the model's files do not say."""
        if self._width is None:
            raise InputError("the model's files do not say how wide its vectors are: candidates cannot bring vectors")
        return VectorFormat(self._width, is_single=self.output == "dense")

    @property
    def special_tokens(self) -> tuple[list[int], list[int]]:
        """Return the ids of the special tokens before and behind each text."""
        return self._before, self._behind

    @property
    def _special_count(self) -> int:
        return len(self._before) + len(self._behind)

    def encode(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        query_of: IntArray,
        document_of: IntArray,
        limits: TokenLimits = AS_THE_MODEL,
        checkpoint: Checkpoint = never_stop,
        instructions: Instructions = None,
    ) -> EncodedPairs:
        """Return pairs of texts that are tokenised once each, see `PairEncoder.encode`.

        Limits hold for each text: `limits.pair` for the tokens of a row, `limits.document` for those of the document's
        own text. Raises TooLongError if `limits.strict` and a document was truncated.
        """
        limits_of_queries = replace(limits, document=None)
        query_rows, is_query_truncated = self._rows(in_front(queries, instructions), 0, limits_of_queries, checkpoint)
        document_rows, is_truncated = self._rows(documents, 1, limits, checkpoint)
        if limits.strict:
            most = pair_limit(limits, self.max_length, special_count=self._special_count)
            refuse_truncated(is_truncated[document_of], most)
        return EncodedPairs(
            template=self.template,
            queries=query_rows,
            documents=document_rows,
            query_of=query_of,
            document_of=document_of,
            query_lengths=query_rows.lengths[query_of].astype(np.int32),
            document_lengths=document_rows.lengths[document_of].astype(np.int32),
            is_truncated=is_query_truncated[query_of] | is_truncated[document_of],
        )

    @property
    def passage_limit(self) -> int:
        """Return the most tokens of a document's own text that are never truncated."""
        return (self._roles[1].max_length or self.max_length) - self._special_count - self._prompt_lengths[1]

    def token_starts(self, texts: Sequence[str], most: int, checkpoint: Checkpoint = never_stop) -> list[Offsets]:
        """Return the characters at which the tokens of each text start, see `read_starts`."""
        return read_starts(self._tokenizer, texts, most, checkpoint)

    def encode_texts(self, texts: Sequence[str], *, is_query: bool, checkpoint: Checkpoint = never_stop) -> Texts:
        """Return queries or documents by themselves, truncated to the model's limits.

        Raises InputError if a text has no tokens.
        """
        rows, _ = self._rows(texts, 0 if is_query else 1, AS_THE_MODEL, checkpoint)
        if not rows.lengths.all():
            raise InputError(f"texts[{int(rows.lengths.argmin())}] has no tokens for this model")
        return Texts(rows, np.full(len(rows), is_query))

    def _rows(
        self, texts: Sequence[str], place: int, limits: TokenLimits, checkpoint: Checkpoint
    ) -> tuple[Ragged, npt.NDArray[np.bool_]]:
        """Return the whole rows of texts of a role, and which of them were truncated."""
        role = self._roles[place]
        special_count = self._special_count + self._prompt_lengths[place]
        most = pair_limit(limits, role.max_length or self.max_length, special_count=special_count) - self._special_count
        read = read_tokens(self._tokenizer, [role.prompt + text for text in texts], most + 1, checkpoint)
        if limits.document is not None:
            read = [row[: limits.document + self._prompt_lengths[place]] for row in read]
        is_truncated = np.array([len(row) > most for row in read], dtype=np.bool_)
        rows = self._framed([row[:most] for row in read], 0 if role.expansion is None else role.expansion.length)
        return rows, is_truncated

    def _framed(self, texts: Sequence[IntArray], least: int) -> Ragged:
        """Return rows of token ids between special tokens, filled up to `least` tokens."""
        inner = np.array([len(text) for text in texts], dtype=np.int64)
        lengths = np.maximum(inner + self._special_count, least)
        offsets = offsets_of(lengths)
        starts = offsets[:-1]
        values = np.full(int(offsets[-1]), 0 if self._filler is None else self._filler, dtype=np.int32)
        before, behind = (np.array(ids, dtype=np.int32) for ids in (self._before, self._behind))
        values[starts[:, None] + np.arange(len(before))] = before
        values[spans(starts + len(before), inner)] = np.concatenate([*texts, np.empty(0, dtype=np.int32)])
        values[(starts + len(before) + inner)[:, None] + np.arange(len(behind))] = behind
        return Ragged(values, offsets)


def _limited(role: Role, max_length: int) -> Role:
    """Return a role whose rows have at most `max_length` tokens. Raises ModelError if it expands queries beyond."""
    if role.expansion is not None and role.expansion.length > max_length:
        raise ModelError(
            f"max_length must be at least {role.expansion.length}, to which the model expands queries, got {max_length}"
        )
    return replace(role, max_length=min(role.max_length or max_length, max_length))


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids before and behind a text by itself. Raises ModelError if the tokeniser changes the text."""
    whole, text = (tokenizer.encode(_PROBE, add_special_tokens=special).ids for special in (True, False))
    for start in range(len(whole) - len(text) + 1):
        if text and whole[start : start + len(text)] == text:
            return whole[:start], whole[start + len(text) :]
    raise ModelError("the tokeniser's special tokens do not stand before and behind a text")


def _prepared(tokenizer: Any, roles: TextRoles) -> Any:
    """Return a copy of a transformers tokeniser that knows the markers as tokens and lower-cases if it should."""
    tokenizer = deepcopy(tokenizer)
    known = set(tokenizer.get_vocab())
    markers = []
    for prompt in filter(str.strip, roles.markers):
        marker = next((text for text in (prompt, prompt.split(None, 1)[0]) if text in known), None)
        if marker is not None and tokenizer.tokenize(marker) != [marker]:
            markers.append(AddedToken(marker, normalized=False, special=True))
    if markers:
        tokenizer.add_special_tokens({"additional_special_tokens": markers})
    if roles.lowers_case:
        backend = tokenizer.backend_tokenizer
        own = [backend.normalizer] if backend.normalizer is not None else []
        backend.normalizer = Normalizers([Lowercase(), *own])
    return tokenizer


def _filler(tokenizer: Any, role: Role) -> int | None:
    """Return the id of the token that expands queries, None if they are not expanded.

    Raises ModelError if the tokeniser has none, or would put it in front of the text.
    """
    if role.expansion is None:
        return None
    if tokenizer.padding_side != "right":
        raise ModelError("the model expands queries, and its tokeniser would fill them in front of the text")
    filler = filling_token(tokenizer, role.expansion.token)
    if filler is None:
        raise ModelError("the model expands queries, and its tokeniser has no mask token to fill them with")
    return filler


def filling_token(tokenizer: Any, token: str | None) -> int | None:
    """Return the id of this token, without one that of the mask token, else of the end-of-text token, if any."""
    if token is not None:
        filler = tokenizer.convert_tokens_to_ids(token)
    else:
        filler = tokenizer.eos_token_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id
    return None if filler is None else int(filler)


def _relevance(config: ScorerConfig, roles: TextRoles) -> Relevance:
    """Return what relevance scores mean. Raises ModelError for other similarities than these."""
    if roles.similarity not in _RELEVANCE:
        raise ModelError(
            f"{config.model!r} compares texts by {roles.similarity!r}, supported are {', '.join(_RELEVANCE)}"
        )
    return _RELEVANCE[roles.similarity] if roles.is_normalized else Relevance.RATIO
