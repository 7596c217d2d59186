"""POST /v1/embeddings."""

from typing import cast

from inference import wire
from inference.api import answers, images, tokens
from inference.api.call import Call
from inference.catalog import Resolved
from inference.openai import bounded_json, embeddings


async def create(call: Call) -> None:
    call.request.require_type(b"application/json")
    parsed = embeddings.parse(await call.request.body(bounded_json.MAX_BYTES))
    resolved = await call.resolve(parsed.model, "embed", "clip")
    if parsed.pictures:
        if resolved.spec.kind != "clip":
            raise parsed.pictures.refuse()
        parsed = parsed.with_images(await images.fetched(parsed.pictures))
    body = await _in_own_tokens(resolved, parsed.body)
    encoder = embeddings.Encoder(parsed, resolved.model)
    async with call.admitted(parsed.estimated_tokens):
        answer = await answers.plain(call, resolved.spec, [body], encoder)
        await call.reply.json(answer)


async def _in_own_tokens(resolved: Resolved, body: wire.Embed) -> wire.Embed:
    """Inputs are all ids, or none of them is."""
    if not isinstance(body.inputs[0], list):
        return body
    texts = await tokens.texts(resolved, cast("list[list[int]]", body.inputs), "input")
    if texts is None:
        return body
    return wire.Embed(inputs=[*texts], dimensions=body.dimensions)
