"""/v1/files with the stock client, with strangers, and with forms that are wrong."""

import hashlib
import http.client
import io
from typing import Any

import httpx
import openai
import pytest

from tests import servers

ROW = b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'


def post(web: servers.Hub, **form: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {web.key}"}
    return httpx.post(f"{web.url}/v1/files", headers=headers, timeout=30, **form)


def upload(client: openai.OpenAI, data: bytes = ROW, name: str = "facts.jsonl") -> Any:
    return client.files.create(file=(name, io.BytesIO(data)), purpose="fine-tune")


def test_a_file_comes_back_as_it_went(client: openai.OpenAI) -> None:
    data = hashlib.sha512(b"x").digest() * 20_000 + b"\r\n--boundary\r\n"
    made = client.files.create(file=("größe.bin", io.BytesIO(data)), purpose="user_data")
    assert (made.filename, made.bytes, made.object) == ("größe.bin", len(data), "file")
    assert made.status == "processed"
    assert client.files.retrieve(made.id) == made
    answer = client.files.content(made.id)
    assert answer.content == data
    assert answer.response.headers["content-disposition"].startswith("attachment;")
    assert client.files.wait_for_processing(made.id) == made


def test_lists_are_paged(client: openai.OpenAI) -> None:
    made = [upload(client, ROW * (n + 1)).id for n in range(5)]
    page = client.files.list(limit=2, purpose="fine-tune")
    assert [file.id for file in page.data] == made[:2:-1][:2]
    assert page.has_more
    every = [file.id for file in client.files.list(limit=2, purpose="fine-tune")]
    assert every[:5] == made[::-1]
    assert len(set(every)) == len(every)
    oldest = client.files.list(order="asc", purpose="fine-tune", limit=100)
    assert [file.id for file in oldest.data] == every[::-1]
    assert not client.files.list(purpose="batch").data


def test_a_removed_file_is_gone(client: openai.OpenAI) -> None:
    made = upload(client)
    assert client.files.delete(made.id).deleted
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)


def test_a_file_may_run_out(client: openai.OpenAI) -> None:
    made = client.files.create(
        file=("a.jsonl", io.BytesIO(ROW)),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert made.expires_at == made.created_at + 3600
    client.files.delete(made.id)


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"files": {"file": ("a", ROW)}}, "purpose"),
        ({"files": {"file": ("a", ROW)}, "data": {"purpose": "fun"}}, "purpose"),
        ({"files": {"file": ("a", b"")}, "data": {"purpose": "batch"}}, "file"),
        ({"files": {"file": ("../", ROW)}, "data": {"purpose": "batch"}}, "file"),
        ({"files": {"other": ("a", ROW)}, "data": {"purpose": "batch"}}, "other"),
        ({"files": {"file": ("a", ROW)}, "data": {"purpose": "batch", "owner": "x"}}, "owner"),
        (
            {
                "files": {"file": ("a", ROW)},
                "data": {
                    "purpose": "batch",
                    "expires_after[anchor]": "created_at",
                    "expires_after[seconds]": "5",
                },
            },
            "expires_after[seconds]",
        ),
    ],
)
def test_wrong_forms_are_told(web: servers.Hub, form: dict[str, Any], param: str) -> None:
    answer = post(web, **form)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_names_lead_nowhere(web: servers.Hub) -> None:
    answer = post(web, files={"file": ("..\\..\\etc/pass\u202ewd", ROW)}, data={"purpose": "batch"})
    assert answer.json()["filename"] == "passwd"


def test_a_body_without_its_end_leaves_nothing(web: servers.Hub, client: openai.OpenAI) -> None:
    before = {file.id for file in client.files.list()}
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'
    answer = httpx.post(
        f"{web.url}/v1/files",
        content=body,
        headers={
            "Authorization": f"Bearer {web.key}",
            "Content-Type": "multipart/form-data; boundary=x",
        },
    )
    assert answer.status_code == 400
    assert {file.id for file in client.files.list()} == before
    assert not list((web.data / "files" / "incoming").iterdir())


def test_a_file_over_the_limit_is_refused_unread(web: servers.Hub) -> None:
    line = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    line.putrequest("POST", "/v1/files")
    line.putheader("Authorization", f"Bearer {web.key}")
    line.putheader("Content-Type", "multipart/form-data; boundary=x")
    line.putheader("Content-Length", str(2**30))
    line.endheaders()
    assert line.getresponse().status == 413
    line.close()


def test_scopes_hold(web: servers.Hub, client: openai.OpenAI) -> None:
    made = upload(client)
    reader = openai.OpenAI(base_url=f"{web.url}/v1", api_key=web.keys["reader"], max_retries=0)
    assert reader.files.retrieve(made.id).id == made.id
    with pytest.raises(openai.PermissionDeniedError):
        reader.files.delete(made.id)
    with pytest.raises(openai.PermissionDeniedError):
        upload(reader)
    talker = openai.OpenAI(base_url=f"{web.url}/v1", api_key=web.keys["talker"], max_retries=0)
    with pytest.raises(openai.PermissionDeniedError):
        talker.files.list()
