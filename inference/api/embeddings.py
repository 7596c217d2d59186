"""POST /v1/embeddings."""

from functools import partial
from typing import cast

import msgspec

from inference import wire
from inference.api import answers, images, tokens
from inference.api.call import Call
from inference.catalog import Resolved
from inference.openai import bounded_json, embeddings
from inference.openai.embeddings import ParsedEmbedding


async def create(call: Call) -> None:
    call.request.require_type(b"application/json")
    parsed = embeddings.parse(await call.fields(bounded_json.MAX_BYTES))
    resolved = await call.resolve(parsed.model, "embed", "clip")
    if parsed.pictures and resolved.spec.kind != "clip":
        raise parsed.pictures.refuse()
    parsed = msgspec.structs.replace(parsed, body=await _in_own_tokens(resolved, parsed.body))
    call.meter.prompt_tokens = parsed.estimated_tokens
    async with call.admitted(parsed.cost, resolved):
        if parsed.pictures:
            parsed = parsed.with_images(await images.fetched(parsed.pictures))
        await call.serve(resolved, partial(_answer, call, parsed))


async def _answer(call: Call, parsed: ParsedEmbedding, target: Resolved) -> None:
    encoder = embeddings.Encoder(parsed, target.model)
    await call.reply.json(await answers.plain(call, target.spec, [parsed.body], encoder))


async def _in_own_tokens(resolved: Resolved, body: wire.Embed) -> wire.Embed:
    """Inputs are all ids, or none of them is."""
    if not isinstance(body.inputs[0], list):
        return body
    texts = await tokens.texts(resolved, cast("list[list[int]]", body.inputs), "input")
    if texts is None:
        return body
    return wire.Embed(inputs=[*texts], dimensions=body.dimensions)
