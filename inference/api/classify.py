"""POST /v1/classify."""

from inference.api import answers, images
from inference.api.call import Call
from inference.openai import bounded_json, classify


async def create(call: Call) -> None:
    call.request.require_type(b"application/json")
    parsed = classify.parse(await call.request.body(bounded_json.MAX_BYTES))
    resolved = await call.resolve(parsed.model, "clip")
    parsed = parsed.with_images(await images.fetched(parsed.pictures))
    encoder = classify.Encoder(parsed, resolved.model)
    async with call.admitted(parsed.estimated_tokens):
        answer = await answers.plain(call, resolved.spec, [parsed.body], encoder)
        await call.reply.json(answer)
