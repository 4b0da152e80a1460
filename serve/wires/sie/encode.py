"""SIE's vectors of items: one per item ("dense"), or one for each token that counts ("multivector")."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from rerank.arrays import FloatArray
from rerank.errors import InputError
from rerank.types import EncodeRequest, Output
from serve.wires import ParsedEncode, VectorsResponse
from serve.wires.fields import Instruction, Items, Refused, Unread
from serve.wires.read import read_body, read_instruction
from serve.wires.sie import STATUS, error, read_items

__all__ = ["STATUS", "Body", "error", "parse"]

_Dtype = Literal["float32", "float16"]
_InParams = Refused("it belongs in `params`")


class Options(BaseModel):
    """Options that SIE lets a request change."""

    is_query: bool | None = Field(default=None, description="true: the items are queries; otherwise documents.")
    profile: Annotated[Any, Refused("models have no other profile", neutral=("default",))] = None
    normalize: None = Field(default=None, description="Must be left out: vectors are as the server compares them.")
    muvera: Unread = None
    smve: Unread = None
    lora_id: Unread = None
    instruction: Annotated[Any, _InParams] = None
    output_types: Annotated[Any, _InParams] = None
    output_dtype: Annotated[Any, _InParams] = None


class Params(BaseModel):
    """What is made of the items."""

    output_types: list[Output] | None = Field(
        default=None, description='The output of the model: "dense" (the default) or "multivector".'
    )
    output_dtype: _Dtype | None = Field(default=None, description="float32 by default.")
    instruction: Instruction = Field(default=None, description="For queries: what makes a document relevant.")
    options: Options | None = None


class Body(BaseModel):
    """An encode request; an item is `{"id"?, "text"}`."""

    items: Items
    params: Params | None = None


def parse(values: Mapping[str, Any]) -> ParsedEncode:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    params = body.params or Params()
    options = params.options or Options()
    texts, ids = read_items(body.items)
    outputs: list[Output] = params.output_types or ["dense"]
    is_query, instruction = bool(options.is_query), read_instruction(instruction=params.instruction)
    if instruction is not None and not is_query:
        raise InputError("params.instruction must be left out: only queries have one, see params.options.is_query")
    request = EncodeRequest(texts, is_query=is_query, outputs=tuple(dict.fromkeys(outputs)), instruction=instruction)
    return ParsedEncode(request, partial(_render, ids, params.output_dtype or "float32"), "items")


def _render(ids: Sequence[str | None], dtype: _Dtype, response: VectorsResponse) -> dict[str, Any]:
    result = response.result
    render = _dense if result.output == "dense" else _multivector
    items = [
        ({} if name is None else {"id": name}) | {result.output: render(vectors.astype(dtype, copy=False))}
        for name, vectors in zip(ids, result.vectors, strict=True)
    ]
    return {"model": response.model, "items": items, "usage": {"input_tokens": result.tokens}}


def _dense(vectors: FloatArray) -> dict[str, Any]:
    (vector,) = vectors
    return {"dims": len(vector), "dtype": str(vector.dtype), "values": vector}


def _multivector(vectors: FloatArray) -> dict[str, Any]:
    count, width = vectors.shape
    return {"token_dims": width, "num_tokens": count, "dtype": str(vectors.dtype), "values": vectors}
