"""POST /v1/embeddings."""

import base64
import sys
from array import array
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference import wire
from inference.openai import bounded_json, costs
from inference.openai.costs import Cost
from inference.openai.fields import Label, ModelName, TokenId, convert, invalid
from inference.openai.media_inputs import MediaInput, media_inputs
from inference.openai.pictures import IMAGE_TOKENS, Pictures, filled_parts

MAX_INPUTS = 2048  # Source: OpenAI's specification of this endpoint
MAX_INPUT_TOKENS = 300_000  # of one request, where tokens are given
MAX_DIMENSIONS = 65_536
Input = str | list[int] | wire.Image
_Piece = str | TokenId | Annotated[list[TokenId], Meta(min_length=1)] | MediaInput


class EmbeddingRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: ModelName
    input: str | MediaInput | Annotated[list[_Piece], Meta(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None = None
    user: Label | None = None


class ParsedEmbedding(msgspec.Struct, frozen=True):
    model: str
    body: wire.Embed
    as_base64: bool
    pictures: Pictures = msgspec.field(default_factory=Pictures)

    @property
    def estimated_tokens(self) -> int:
        texts = sum(costs.rounded_up(item) for item in self.body.inputs if isinstance(item, str))
        ids = sum(len(item) for item in self.body.inputs if isinstance(item, list))
        return texts + ids + len(self.pictures) * IMAGE_TOKENS

    @property
    def cost(self) -> Cost:
        texts = sum(costs.of_input(item) for item in self.body.inputs if isinstance(item, str))
        ids = [len(item) for item in self.body.inputs if isinstance(item, list)]
        images = len(self.pictures) * costs.VECTOR_IMAGE_TOKENS
        return Cost(texts + sum(ids) + len(ids) * costs.MESSAGE_TOKENS + images)

    def with_images(self, fetched: Mapping[int, bytes]) -> "ParsedEmbedding":
        """Put in what was fetched, by the numbers of `pictures`. Raises: RequestTooLarge."""
        inputs: list[Any] = filled_parts(self.body.inputs, fetched)
        body = wire.Embed(inputs=inputs, dimensions=self.body.dimensions)
        return msgspec.structs.replace(self, body=body)


def parse(data: bytes | dict[str, Any]) -> ParsedEmbedding:
    """Raises: InvalidRequest in all its kinds; RequestTooLarge."""
    request = convert(bounded_json.fields_of(data), EmbeddingRequest)
    found = Pictures()
    inputs = _inputs(request.input, found)
    _check(inputs)
    body = wire.Embed(inputs=inputs, dimensions=request.dimensions)
    return ParsedEmbedding(request.model, body, request.encoding_format == "base64", found)


def _inputs(given: str | MediaInput | list[Any], found: Pictures) -> list[Input]:
    if not isinstance(given, list):
        given = [given]
    kinds = {type(piece) for piece in given}
    if MediaInput in kinds and kinds <= {MediaInput, str}:
        return media_inputs(given, found)
    if kinds == {int}:
        return [given]
    if kinds in ({str}, {list}):
        return given
    why = "it must hold only strings and images, only token ids, or only lists of them"
    raise invalid("input", why)


def _check(inputs: list[Input]) -> None:
    if len(inputs) > MAX_INPUTS:
        raise invalid("input", f"it holds {len(inputs)} entries; {MAX_INPUTS} are allowed")
    if "" in inputs:
        raise invalid("input", "it holds an empty string")
    tokens = sum(len(item) for item in inputs if isinstance(item, list))
    if tokens > MAX_INPUT_TOKENS:
        raise invalid("input", f"it holds {tokens} tokens; {MAX_INPUT_TOKENS} are allowed")


class Embedding(msgspec.Struct):
    object: str
    index: int
    embedding: str | list[float]


class EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct):
    object: str
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Encoder:
    """Gather the rows, in their order."""

    def __init__(self, parsed: ParsedEmbedding, model: str) -> None:
        self._parsed = parsed
        self._model = model
        self._rows: list[bytes] = []

    def add(self, message: wire.Vectors, prompt: int) -> None:
        width = message.dimensions * 4
        self._rows += [message.data[at : at + width] for at in range(0, len(message.data), width)]

    def finish(self, done: list[wire.Done]) -> bytes:
        tokens = sum(d.usage.prompt_tokens for d in done)
        write = _base64 if self._parsed.as_base64 else _floats
        data = [Embedding("embedding", at, write(row)) for at, row in enumerate(self._rows)]
        usage = EmbeddingUsage(tokens, tokens)
        return msgspec.json.encode(EmbeddingList("list", data, self._model, usage))


def _base64(row: bytes) -> str:
    return base64.b64encode(row).decode()


def _floats(row: bytes) -> list[float]:
    numbers = array("f", row)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
