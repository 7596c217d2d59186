"""POST /v1/completions."""

from functools import partial

import msgspec

from inference import wire
from inference.api import answers, tokens
from inference.api.call import Call
from inference.catalog import Resolved
from inference.openai import bounded_json, completions, reply
from inference.openai.completions import ParsedCompletion
from inference.openai.completions_reply import PlainEncoder, StreamEncoder


async def create(call: Call) -> None:
    call.request.require_type(b"application/json")
    parsed = completions.parse(await call.fields(bounded_json.MAX_BYTES))
    resolved = await call.resolve(parsed.model, "llm")
    bodies = await _in_own_tokens(resolved, parsed.bodies)
    parsed = msgspec.structs.replace(parsed, bodies=bodies)
    call.meter.prompt_tokens = parsed.estimated_prompt_tokens
    async with call.admitted(parsed.cost, resolved):
        await call.serve(resolved, partial(_answer, call, parsed))


async def _answer(call: Call, parsed: ParsedCompletion, target: Resolved) -> None:
    bodies = parsed.bodies
    if len(bodies) == 1:
        bodies = [call.within(bodies[0])]
    head = reply.head("cmpl", target.model, target.spec.key)
    if parsed.streaming.stream:
        await answers.stream(call, target.spec, bodies, StreamEncoder(parsed, head))
        return
    body = await answers.plain(call, target.spec, bodies, PlainEncoder(parsed, head))
    await call.reply.json(body)


async def _in_own_tokens(resolved: Resolved, bodies: list[wire.Generate]) -> list[wire.Generate]:
    ids = [b.prompt.tokens for b in bodies if isinstance(b.prompt, wire.TokenPrompt)]
    texts = await tokens.texts(resolved, ids, "prompt") if ids else None
    if texts is None:
        return bodies
    return [
        msgspec.structs.replace(body, prompt=wire.TextPrompt(text=text))
        for body, text in zip(bodies, texts, strict=True)
    ]
