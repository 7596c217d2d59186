"""POST /v1/classify."""

from functools import partial

from inference.api import answers, images
from inference.api.call import Call
from inference.catalog import Resolved
from inference.openai import bounded_json, classify
from inference.openai.classify import ParsedClassify


async def create(call: Call) -> None:
    call.request.require_type(b"application/json")
    parsed = classify.parse(await call.fields(bounded_json.MAX_BYTES))
    resolved = await call.resolve(parsed.model, "clip")
    call.meter.prompt_tokens = parsed.estimated_tokens
    async with call.admitted(parsed.cost, resolved):
        parsed = parsed.with_images(await images.fetched(parsed.pictures))
        await call.serve(resolved, partial(_answer, call, parsed))


async def _answer(call: Call, parsed: ParsedClassify, target: Resolved) -> None:
    encoder = classify.Encoder(parsed, target.model)
    await call.reply.json(await answers.plain(call, target.spec, [parsed.body], encoder))
