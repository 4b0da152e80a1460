"""TEI's `/predict` for pairs: `[query, document]` or a list of such pairs in; their scores out, in that order."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import WithJsonSchema

from rerank.errors import InputError
from rerank.types import RerankRequest, TokenLimits
from serve.errors import EmptyError
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.read import read_body, read_texts, shown
from serve.wires.tei import STATUS, Options, error
from serve.wires.write import in_input_order

__all__ = ["STATUS", "Body", "error", "parse"]

_LABEL = "LABEL_0"  # the only one of a reranker, as in /info
_PAIR = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}

Inputs = Annotated[list[Any], WithJsonSchema({"anyOf": [_PAIR, {"type": "array", "items": _PAIR, "minItems": 1}]})]


class Body(Options):
    """A request for scores of pairs: `inputs` is `[query, document]`, or a list of such pairs."""

    inputs: Inputs


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field, EmptyError without inputs."""
    body = read_body(Body, values)
    if not body.inputs:
        raise EmptyError("inputs must hold at least one pair, got none")
    is_list = isinstance(body.inputs[0], list)
    pairs = body.inputs if is_list else [body.inputs]
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2:
            name = f"inputs[{index}]" if is_list else "inputs"
            raise InputError(f"{name} must be a pair [query, document], got {shown(pair)}")
    queries, documents = zip(*pairs, strict=True)
    request = RerankRequest(
        tuple(read_texts(queries, "inputs", text_fields=())),
        read_texts(documents, "inputs", text_fields=(), may_be_blank=True),
        token_limits=TokenLimits(strict=body.truncate is False),
    )
    return ParsedRequest(body.model, request, partial(_render, body, is_list), "inputs", "inputs")


def _render(body: Body, is_list: bool, response: RankingResponse) -> Sequence[Any]:
    scores = in_input_order(response.result.ranked, raw=bool(body.raw_scores))
    predictions = [[{"score": score, "label": _LABEL}] for score in scores]
    return predictions if is_list else predictions[0]
