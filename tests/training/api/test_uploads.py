"""/v1/uploads with the stock client: parts joined in the order asked for, and what is refused."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests import servers

DATA = hashlib.sha512(b"x").digest() * 50_000
CUT = 1_200_000


def begun(client: openai.OpenAI, size: int = len(DATA), **more: Any) -> str:
    about: dict[str, Any] = {"filename": "facts.jsonl", "purpose": "fine-tune", "bytes": size}
    return client.uploads.create(mime_type="application/jsonl", **about | more).id


def part(client: openai.OpenAI, upload: str, data: bytes) -> str:
    return client.uploads.parts.create(upload, data=io.BytesIO(data)).id


def left(web: servers.Hub) -> list[Path]:
    return [*(web.data / "files").glob("*/part_*")]


def test_parts_are_joined_in_the_order_given(web: servers.Hub, client: openai.OpenAI) -> None:
    upload = begun(client)
    second, first = part(client, upload, DATA[CUT:]), part(client, upload, DATA[:CUT])
    md5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    done = client.uploads.complete(upload, part_ids=[first, second], md5=md5)
    assert (done.status, done.bytes, done.object) == ("completed", len(DATA), "upload")
    assert done.file is not None
    assert (done.file.filename, done.file.purpose) == ("facts.jsonl", "fine-tune")
    assert client.files.content(done.file.id).content == DATA
    again = client.uploads.complete(upload, part_ids=[first, second])  # its answer got lost
    assert again.file == done.file
    assert not left(web)
    with pytest.raises(openai.ConflictError):
        part(client, upload, b"more")


def test_many_who_join_at_once_get_one_file(client: openai.OpenAI) -> None:
    upload = begun(client)
    ids = [part(client, upload, DATA[:CUT]), part(client, upload, DATA[CUT:])]
    patient = client.with_options(max_retries=0)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(patient.uploads.complete, upload, part_ids=ids) for _ in range(8)]
    files = {done.file.id for one in asked if (done := one.result()).file}
    assert len(files) == 1
    assert client.files.content(files.pop()).content == DATA


def test_a_cancelled_one_leaves_nothing(web: servers.Hub, client: openai.OpenAI) -> None:
    upload = begun(client)
    part(client, upload, DATA[:CUT])
    assert left(web)
    assert client.uploads.cancel(upload).status == "cancelled"
    assert not left(web)
    with pytest.raises(openai.ConflictError):
        client.uploads.complete(upload, part_ids=["part_x"])


def test_what_does_not_add_up_is_refused(client: openai.OpenAI) -> None:
    upload = begun(client, size=10)
    mine = part(client, upload, b"12345")
    for wrong, words in (
        ([mine], "5 bytes together, not the 10"),
        ([mine, mine], "each part of this upload once"),
        (["part_of_others"], "each part of this upload once"),
    ):
        with pytest.raises(openai.BadRequestError, match=words):
            client.uploads.complete(upload, part_ids=wrong)
    with pytest.raises(openai.BadRequestError, match="too much"):
        part(client, upload, b"123456")
    whole = part(client, upload, b"67890")
    with pytest.raises(openai.BadRequestError, match="another MD5"):
        client.uploads.complete(upload, part_ids=[mine, whole], md5="0" * 32)
    assert client.uploads.complete(upload, part_ids=[mine, whole]).file is not None


@pytest.mark.parametrize(
    "wrong", [{"bytes": 0}, {"bytes": 2**40}, {"purpose": "fun"}, {"filename": "/"}]
)
def test_a_wrong_wish_is_refused(client: openai.OpenAI, wrong: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        begun(client, **wrong)
    assert raised.value.param in {*wrong, "file"}


def test_others_have_no_part_in_it(web: servers.Hub, client: openai.OpenAI) -> None:
    upload = begun(client)
    reader = openai.OpenAI(base_url=f"{web.url}/v1", api_key=web.keys["reader"], max_retries=0)
    with pytest.raises(openai.PermissionDeniedError):
        part(reader, upload, b"x")
    with pytest.raises(openai.NotFoundError):
        part(client, "upload_of_others", b"x")
