"""POST /v1/classify: zero-shot classification of images and texts, in the shape of Jina's API."""

import sys
from array import array
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from inference import wire
from inference.openai import bounded_json, costs
from inference.openai.costs import Cost
from inference.openai.fields import Label, ModelName, convert, invalid
from inference.openai.media_inputs import MediaInput, media_inputs
from inference.openai.pictures import IMAGE_TOKENS, Pictures, filled_parts

MAX_INPUTS = 512
MAX_LABELS = 256
TEMPLATE = "This is a photo of {}."  # Source: the default of transformers' zero-shot pipelines
_Label = Annotated[str, Meta(min_length=1, max_length=512)]
_Piece = str | MediaInput


class ClassifyRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: ModelName
    input: _Piece | Annotated[list[_Piece], Meta(min_length=1, max_length=MAX_INPUTS)]
    labels: Annotated[list[_Label], Meta(min_length=1, max_length=MAX_LABELS)]
    hypothesis_template: Annotated[str, Meta(max_length=512)] | None = None
    user: Label | None = None


class ParsedClassify(msgspec.Struct, frozen=True):
    model: str
    body: wire.Classify
    pictures: Pictures = msgspec.field(default_factory=Pictures)

    @property
    def estimated_tokens(self) -> int:
        texts = [*(i for i in self.body.inputs if isinstance(i, str)), *self.body.labels]
        return sum(costs.rounded_up(text) for text in texts) + len(self.pictures) * IMAGE_TOKENS

    @property
    def cost(self) -> Cost:
        texts = [*(i for i in self.body.inputs if isinstance(i, str)), *self.body.labels]
        around = len(self.body.labels) * costs.of_text(self.body.template)
        images = len(self.pictures) * costs.VECTOR_IMAGE_TOKENS
        return Cost(sum(map(costs.of_input, texts)) + around + images)

    def with_images(self, fetched: Mapping[int, bytes]) -> "ParsedClassify":
        """Put in what was fetched, by the numbers of `pictures`. Raises: RequestTooLarge."""
        body = msgspec.structs.replace(self.body, inputs=filled_parts(self.body.inputs, fetched))
        return msgspec.structs.replace(self, body=body)


def parse(data: bytes | dict[str, Any]) -> ParsedClassify:
    """Raises: InvalidRequest in all its kinds; RequestTooLarge."""
    request = convert(bounded_json.fields_of(data), ClassifyRequest)
    template = TEMPLATE if request.hypothesis_template is None else request.hypothesis_template
    if template.count("{}") != 1:
        raise invalid("hypothesis_template", "it must have {} in one place, for the label")
    if len(set(request.labels)) != len(request.labels):
        raise invalid("labels", "a label is there twice")
    found = Pictures()
    given = request.input if isinstance(request.input, list) else [request.input]
    inputs = media_inputs(given, found)
    if "" in inputs:
        raise invalid("input", "it holds an empty string")
    body = wire.Classify(inputs=inputs, labels=request.labels, template=template)
    return ParsedClassify(request.model, body, found)


class Prediction(msgspec.Struct):
    label: str
    score: float


class Classification(msgspec.Struct):
    object: str
    index: int
    prediction: str
    score: float
    predictions: list[Prediction]


class ClassifyUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class ClassificationList(msgspec.Struct):
    object: str
    data: list[Classification]
    model: str
    usage: ClassifyUsage


class Encoder:
    """Gather the rows, in their order."""

    def __init__(self, parsed: ParsedClassify, model: str) -> None:
        self._labels = parsed.body.labels
        self._model = model
        self._rows: list[list[float]] = []

    def add(self, message: wire.Vectors, prompt: int) -> None:
        numbers = array("f", message.data)
        if sys.byteorder == "big":
            numbers.byteswap()
        width = message.dimensions
        self._rows += [numbers[at : at + width].tolist() for at in range(0, len(numbers), width)]

    def finish(self, done: list[wire.Done]) -> bytes:
        tokens = sum(d.usage.prompt_tokens for d in done)
        data = [self._classification(at, row) for at, row in enumerate(self._rows)]
        usage = ClassifyUsage(tokens, tokens)
        return msgspec.json.encode(ClassificationList("list", data, self._model, usage))

    def _classification(self, index: int, row: list[float]) -> Classification:
        told = [Prediction(*pair) for pair in zip(self._labels, row, strict=True)]
        best = max(told, key=lambda prediction: prediction.score)
        return Classification("classification", index, best.label, best.score, told)
