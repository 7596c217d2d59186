"""Images over HTTP: to a model that sees, through web, node and engine process."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests import servers
from tests.inference.engines import tiny_gguf_vision, tiny_vision

PNG = tiny_vision.picture(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision.make(tmp_path_factory.mktemp("llava"), "llava")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf_vision.make(tmp_path_factory.mktemp("gguf"))


def gguf_row(folder: Path) -> dict[str, Any]:
    return {
        "name": "eyes-gguf",
        "kind": "vlm",
        "engine": "llm_gguf",
        "path": str(folder / tiny_gguf_vision.MODEL),
        "report": {"projector": tiny_gguf_vision.PROJECTOR},
    }


@pytest.fixture(scope="module")
def hub(folder: Path, gguf: Path) -> Iterator[servers.Hub]:
    models: list[dict[str, Any]] = [
        {
            "name": "eyes",
            "kind": "vlm",
            "engine": "vlm_transformers",
            "path": str(folder),
            "settings": {"dtype": "float32"},
        },
        gguf_row(gguf),
        {
            "name": "blind-gguf",
            "kind": "llm",
            "engine": "llm_gguf",
            "path": str(gguf / tiny_gguf_vision.MODEL),
        },
        {"name": "blind", "kind": "llm", "engine": "fake", "path": ""},
    ]
    with servers.hub(models, {"gpt-4o": "eyes"}) as started:
        yield started


@pytest.fixture
async def client(hub: servers.Hub) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {hub.key}"}
    async with httpx.AsyncClient(base_url=f"{hub.url}/v1", headers=headers, timeout=120) as opened:
        yield opened


def ask(model: str, *urls: str, **fields: Any) -> dict[str, Any]:
    parts: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    parts.append({"type": "text", "text": "what is it?"})
    return {"model": model, "messages": [{"role": "user", "content": parts}], **fields}


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


async def test_a_stock_client_asks_about_an_image(hub: servers.Hub, folder: Path) -> None:
    """Greedy over HTTP is what transformers itself answers."""
    sdk = openai.AsyncOpenAI(base_url=f"{hub.url}/v1", api_key=hub.key, max_retries=0)
    body = ask("gpt-4o", data_url(PNG), temperature=0, max_completion_tokens=8)
    answer = await sdk.chat.completions.create(**body, logprobs=True)
    text = "<|im_start|>user\n<image>what is it?<|im_end|>\n<|im_start|>assistant\n"
    prompt, tokens = tiny_vision.Reference(folder).greedy(text, [PNG], 8)
    vocabulary = tiny_vision.vocabulary()
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert [bytes(token.bytes or []) for token in logprobs.content or []] == [
        vocabulary.token_text(token)[1] for token in tokens
    ]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(prompt)


@pytest.mark.parametrize("model", ["eyes", "eyes-gguf"])
async def test_it_streams(client: httpx.AsyncClient, model: str) -> None:
    body = ask(model, data_url(PNG), stream=True, max_tokens=4)
    answer = await client.post("/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.text.rstrip().endswith("data: [DONE]")


async def test_a_gguf_model_sees_what_it_is_shown(client: httpx.AsyncClient) -> None:
    """Another image is another answer, the same one the same."""
    urls = [data_url(tiny_vision.picture(number)) for number in (1, 2, 1)]
    bodies = [ask("eyes-gguf", url, temperature=0, max_tokens=8) for url in urls]
    answers = [(await client.post("/chat/completions", json=body)).json() for body in bodies]
    one, other, again = (answer["choices"][0]["message"]["content"] for answer in answers)
    assert one == again != other


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (
            ask("blind", data_url(PNG)),
            "unsupported_parameter",
            "messages[0].content[0].image_url",
        ),
        (
            ask("blind-gguf", data_url(PNG)),
            "unsupported_parameter",
            "messages[0].content[0].image_url",
        ),
        (ask("eyes", data_url(b"no image")), "invalid_media", "messages"),
        (ask("eyes-gguf", data_url(b"no image")), "invalid_media", "messages"),
        (ask("eyes", *[data_url(PNG)] * 64), "context_length_exceeded", "messages"),
        (
            ask("eyes", data_url(PNG), "http://169.254.169.254/latest"),
            "unsupported_parameter",
            "messages[0].content[1].image_url",
        ),
    ],
)
async def test_it_says_what_is_wrong(
    client: httpx.AsyncClient, body: dict[str, Any], code: str, param: str
) -> None:
    answer = await client.post("/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)


@pytest.fixture(scope="module")
def fetching(folder: Path, gguf: Path) -> Iterator[servers.Hub]:
    """A hub whose operator lets it fetch images, from one address of loopback too."""
    models: list[dict[str, Any]] = [
        {"name": "eyes", "kind": "vlm", "engine": "vlm_transformers", "path": str(folder)},
        gguf_row(gguf),
    ]
    with servers.hub(
        models, AI_HUB_REMOTE_IMAGES="fetch", AI_HUB_FETCH_NETWORKS="127.0.0.1/32"
    ) as started:
        yield started


@pytest.mark.parametrize("model", ["eyes", "eyes-gguf"])
async def test_a_remote_image_is_as_good_as_an_uploaded_one(
    fetching: servers.Hub, model: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + PNG)
        await writer.drain()
        writer.close()

    headers = {"Authorization": f"Bearer {fetching.key}"}
    fixed: dict[str, Any] = {"temperature": 0, "max_tokens": 6, "logprobs": model == "eyes"}
    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as listening,
        httpx.AsyncClient(base_url=f"{fetching.url}/v1", headers=headers, timeout=120) as client,
    ):
        port = listening.sockets[0].getsockname()[1]
        body = ask(model, f"http://127.0.0.1:{port}/a.png", data_url(PNG), **fixed)
        remote = await client.post("/chat/completions", json=body)
        body = ask(model, data_url(PNG), data_url(PNG), **fixed)
        uploaded = await client.post("/chat/completions", json=body)
        body = ask(model, data_url(PNG), f"http://127.0.0.2:{port}/a.png")
        refused = await client.post("/chat/completions", json=body)
    assert remote.status_code == 200, remote.text
    assert remote.json()["choices"] == uploaded.json()["choices"]
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_media", "messages[0].content[1].image_url")
    assert "no public address" in error["message"]
