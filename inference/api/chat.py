"""POST /v1/chat/completions."""

from functools import partial

from inference.api import answers, images
from inference.api.call import Call
from inference.catalog import Resolved
from inference.openai import bounded_json, chat, reply
from inference.openai.chat import ParsedChat
from inference.openai.chat_reply import PlainEncoder, StreamEncoder


async def create(call: Call) -> None:
    call.request.require_type(b"application/json")
    parsed = chat.parse(await call.fields(bounded_json.MAX_BYTES))
    resolved = await call.resolve(parsed.model, "llm", "vlm")
    if parsed.pictures and resolved.spec.kind != "vlm":
        raise parsed.pictures.refuse()
    call.meter.prompt_tokens = parsed.estimated_prompt_tokens
    async with call.admitted(parsed.cost, resolved):
        if parsed.pictures:
            parsed = parsed.with_images(await images.fetched(parsed.pictures))
        await call.serve(resolved, partial(_answer, call, parsed))


async def _answer(call: Call, parsed: ParsedChat, target: Resolved) -> None:
    bodies = [call.within(parsed.body)]
    head = reply.head("chatcmpl", target.model, target.spec.key)
    if parsed.streaming.stream:
        await answers.stream(call, target.spec, bodies, StreamEncoder(parsed, head))
        return
    body = await answers.plain(call, target.spec, bodies, PlainEncoder(parsed, head))
    await call.reply.json(body)
