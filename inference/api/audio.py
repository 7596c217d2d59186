"""POST /v1/audio/transcriptions and /v1/audio/translations."""

from functools import partial

import msgspec

from inference.api import answers
from inference.api.call import Call
from inference.catalog import Resolved
from inference.openai import audio
from inference.openai.audio_reply import TYPES, PlainEncoder, StreamEncoder
from inference.openai.form import Form


async def transcribe(call: Call) -> None:
    await _serve(call, "transcribe")


async def translate(call: Call) -> None:
    await _serve(call, "translate")


async def _serve(call: Call, task: audio.Task) -> None:
    parsed = audio.parse(await _form(call), task)
    resolved = await call.resolve(parsed.model, "asr")
    async with call.admitted(parsed.cost, resolved):
        await call.serve(resolved, partial(_answer, call, parsed))


async def _answer(call: Call, parsed: audio.ParsedAudio, target: Resolved) -> None:
    asked = msgspec.structs.replace(parsed.body, budget=call.budget)
    if parsed.stream:
        await answers.stream(call, target.spec, [asked], StreamEncoder())
        return
    body = await answers.plain(call, target.spec, [asked], PlainEncoder(parsed))
    await call.reply.whole(body, TYPES[parsed.format])


async def _form(call: Call) -> Form:
    call.request.require_type(b"multipart/form-data")
    content_type = call.request.headers[b"content-type"]
    form = Form(content_type, file_field="file", max_file_bytes=audio.MAX_FILE_BYTES)
    await call.request.read(audio.MAX_BODY_BYTES, form.feed)
    form.finish()
    return form
