"""/v1/files: taken in as they arrive, listed, given out, removed."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from asgiref.sync import sync_to_async

from inference.api.call import Call
from inference.errors import NotFound
from inference.openai import files as protocol
from inference.openai.fields import invalid
from inference.openai.form import Form
from training import files, store
from training.models import File

MAX_BODY_BYTES = protocol.MAX_FILE_BYTES + 64 * 1024
UPLOAD_DEADLINE_S = 3_600.0


async def create(call: Call) -> None:
    """The file goes to the disk piece by piece, and memory stays flat."""
    call.request.refuse_query()
    call.request.require_type(b"multipart/form-data")
    await _check_disk(call)
    with store.Incoming() as incoming:
        form = Form(
            call.request.headers[b"content-type"], "file", protocol.MAX_FILE_BYTES, incoming.write
        )
        await call.request.read(MAX_BODY_BYTES, form.feed, UPLOAD_DEADLINE_S)
        form.finish()
        wanted = protocol.wanted(form, has_file=form.file is not None)
        if not incoming.size_bytes:
            raise invalid("file", "it is empty")
        row = await sync_to_async(files.take)(
            incoming, call.principal, wanted.filename, wanted.purpose, wanted.lives_s
        )
    await call.reply.json(msgspec.json.encode(entry(row)))


async def _check_disk(call: Call) -> None:
    """Raises: DiskFull, before a byte is read."""
    length = call.request.headers.get(b"content-length", b"0")
    announced = int(length) if length.isdigit() and len(length) < 16 else 0
    await asyncio.to_thread(store.check_disk, min(announced, MAX_BODY_BYTES))


async def listing(call: Call) -> None:
    known = call.request.query("purpose", "limit", "order", "after")
    wanted = protocol.query(known)
    rows, has_more = await sync_to_async(files.page)(
        call.principal,
        purpose=wanted.purpose,
        after=wanted.after,
        limit=wanted.limit,
        newest_first=wanted.order == "desc",
    )
    first, last = (rows[0].pk, rows[-1].pk) if rows else (None, None)
    page = protocol.Page([entry(row) for row in rows], first, last, has_more)
    await call.reply.json(msgspec.json.encode(page))


async def retrieve(call: Call) -> None:
    call.request.refuse_query()
    await call.reply.json(msgspec.json.encode(entry(await _found(call))))


async def content(call: Call) -> None:
    call.request.refuse_query()
    row = await _found(call)
    blocks = store.blocks(row.pk)
    try:
        first = await asyncio.to_thread(next, blocks, b"")
    except FileNotFoundError as error:
        raise NotFound("The bytes of this file are gone from the disk.") from error

    async def rest() -> AsyncIterator[bytes]:
        yield first
        while block := await asyncio.to_thread(next, blocks, b""):
            yield block

    await call.reply.download(rest(), row.size_bytes, row.filename)


async def remove(call: Call) -> None:
    call.request.refuse_query()
    row = await sync_to_async(files.remove)(call.args["file_id"], call.principal)
    await call.reply.json(msgspec.json.encode(protocol.Deleted(row.pk)))


async def _found(call: Call) -> File:
    return await sync_to_async(files.find)(call.args["file_id"], call.principal)


def entry(row: File) -> protocol.FileEntry:
    """Show a row as OpenAI does."""
    return protocol.FileEntry(
        id=row.pk,
        bytes=row.size_bytes,
        created_at=int(row.created_at.timestamp()),
        filename=row.filename,
        purpose=row.purpose,
        expires_at=int(row.expires_at.timestamp()) if row.expires_at else None,
    )
