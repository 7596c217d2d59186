"""Image-text embeddings and zero-shot classification over HTTP, in both layouts of model folders."""

import base64
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests import digits_clip, servers

IMAGES, LABELS = digits_clip.held_out()
ENCODED = [base64.b64encode(digits_clip.png(image)).decode() for image in IMAGES[:60]]


def _model(name: str, folder: str) -> dict[str, Any]:
    return {"name": name, "kind": "clip", "engine": "embed_clip", "path": folder}


@pytest.fixture(scope="module")
def hub() -> Iterator[servers.Hub]:
    models = [
        _model("hugging-face", str(digits_clip.hugging_face())),
        _model("open-clip", str(digits_clip.open_clip())),
        {"name": "vectors", "kind": "embed", "engine": "fake", "path": ""},
    ]
    with servers.hub(models) as started:
        yield started


@pytest.fixture
async def client(hub: servers.Hub) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {hub.key}"}
    async with httpx.AsyncClient(base_url=f"{hub.url}/v1", headers=headers, timeout=120) as opened:
        yield opened


@pytest.mark.parametrize("model", ["hugging-face", "open-clip"])
async def test_it_classifies_what_it_never_saw(client: httpx.AsyncClient, model: str) -> None:
    body = {
        "model": model,
        "input": [{"image": image} for image in ENCODED],
        "labels": digits_clip.WORDS,
        "hypothesis_template": "the digit {}",
    }
    answer = await client.post("/classify", json=body)
    assert answer.status_code == 200, answer.text
    told = [digits_clip.WORDS.index(entry["prediction"]) for entry in answer.json()["data"]]
    assert np.mean(np.array(told) == np.array(LABELS[: len(told)])) > 0.8
    assert answer.json()["usage"]["total_tokens"] > 0


async def test_a_stock_client_compares_images_and_texts(hub: servers.Hub) -> None:
    sdk = openai.AsyncOpenAI(base_url=f"{hub.url}/v1", api_key=hub.key, max_retries=0)
    inputs: Any = [{"image": ENCODED[0]}, *(f"the digit {word}" for word in digits_clip.WORDS)]
    answer = await sdk.embeddings.create(model="open-clip", input=inputs)
    image, *texts = np.array([entry.embedding for entry in answer.data])
    assert np.argmax(np.array(texts) @ image) == LABELS[0]
    assert np.linalg.norm(image) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/embeddings", {"model": "vectors", "input": [{"image": ENCODED[0]}]}, *("unsupported_parameter", "input[0].image")),
        ("/classify", {"model": "vectors", "input": "x", "labels": ["a"]}, "unsupported_model", "model"),
        ("/classify", {"model": "hugging-face", "input": {"image": "aGVsbG8="}, "labels": ["a"]}, "invalid_media", "input"),
        ("/chat/completions", {"model": "hugging-face", "messages": [{"role": "user", "content": "x"}]}, "unsupported_model", "model"),
    ],
)  # fmt: skip
async def test_it_says_what_is_wrong(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], code: str, param: str
) -> None:
    answer = await client.post(path, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)


def test_no_other_process_sees_torchvision() -> None:
    """Its mere presence would break transformers wherever the cure was not taken."""
    check = (
        "import importlib.util, transformers, peft\n"
        "from transformers import CLIPModel, LlavaForConditionalGeneration\n"
        "assert importlib.util.find_spec('torchvision') is None"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=servers.ROOT)
