"""/v1/uploads: a file begun, its parts taken in, joined or given up."""

import asyncio

import msgspec
from asgiref.sync import sync_to_async

from inference.api.call import Call
from inference.openai import bounded_json
from inference.openai import uploads as protocol
from inference.openai.fields import invalid
from inference.openai.files import FileEntry
from inference.openai.form import Form
from training import parts, store
from training.api import files
from training.models import FileUpload

PART_DEADLINE_S = 600.0
MAX_BODY_BYTES = protocol.MAX_PART_BYTES + 64 * 1024


async def create(call: Call) -> None:
    wanted = protocol.create(await _json(call))
    upload = await sync_to_async(parts.begin)(wanted, call.principal)
    await call.reply.json(msgspec.json.encode(entry(upload)))


async def add(call: Call) -> None:
    """A part goes to the disk piece by piece."""
    call.request.refuse_query()
    call.request.require_type(b"multipart/form-data")
    await asyncio.to_thread(store.check_disk, protocol.MAX_PART_BYTES)
    with store.Incoming() as incoming:
        content_type = call.request.headers[b"content-type"]
        form = Form(content_type, "data", protocol.MAX_PART_BYTES, incoming.write)
        await call.request.read(MAX_BODY_BYTES, form.feed, PART_DEADLINE_S)
        form.finish()
        for name in form.fields:
            raise invalid(name[:100], "no such parameter is known")
        upload_id = call.args["upload_id"]
        part = await sync_to_async(parts.add)(upload_id, incoming, call.principal)
    at = int(part.created_at.timestamp())
    shown = protocol.PartEntry(id=part.pk, created_at=at, upload_id=upload_id)
    await call.reply.json(msgspec.json.encode(shown))


async def complete(call: Call) -> None:
    wanted = protocol.complete(await _json(call))
    upload, file = await sync_to_async(parts.complete)(
        call.args["upload_id"], wanted, call.principal
    )
    await call.reply.json(msgspec.json.encode(entry(upload, files.entry(file))))


async def cancel(call: Call) -> None:
    call.request.refuse_query()
    upload = await sync_to_async(parts.cancel)(call.args["upload_id"], call.principal)
    await call.reply.json(msgspec.json.encode(entry(upload)))


async def _json(call: Call) -> dict[str, object]:
    call.request.refuse_query()
    call.request.require_type(b"application/json")
    return await call.fields(bounded_json.MAX_BYTES)


def entry(row: FileUpload, file: FileEntry | None = None) -> protocol.UploadEntry:
    """Show a row as OpenAI does."""
    return protocol.UploadEntry(
        id=row.pk,
        bytes=row.size_bytes,
        created_at=int(row.created_at.timestamp()),
        expires_at=int(row.expires_at.timestamp()),
        filename=row.filename,
        purpose=row.purpose,
        status=row.state,
        file=file,
    )
