"""Use the official Python client, of any version, against a hub; prints one JSON object of findings.

Runs in an environment of its own: `python openai_check.py BASE_URL KEY AUDIO_FILE`.
"""

import json
import math
import sys
from pathlib import Path

import openai


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def chat(client: openai.OpenAI) -> dict[str, object]:
    stream = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "Say hello."}],
        temperature=0,
        max_tokens=32,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces, finish, usage = [], None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return {
        "text": "".join(pieces),
        "pieces": len(pieces),
        "finish": finish,
        "completion_tokens": usage.completion_tokens if usage else 0,
    }


def embeddings(client: openai.OpenAI) -> dict[str, float]:
    texts = [
        "a kitten sleeps on the sofa",
        "a cat is napping on the couch",
        "the stock market fell",
    ]
    answer = client.embeddings.create(model="text-embedding-3-small", input=texts)
    cat, near, far = (row.embedding for row in answer.data)
    return {"near": cosine(cat, near), "far": cosine(cat, far), "dimensions": len(cat)}


def transcript(client: openai.OpenAI, audio: Path) -> str:
    with audio.open("rb") as file:
        return client.audio.transcriptions.create(model="whisper-1", file=file).text


def refused(base_url: str) -> str:
    try:
        openai.OpenAI(base_url=base_url, api_key="hub_wrong", max_retries=0).models.list()
    except openai.AuthenticationError as error:
        return str(error.code)
    return "not refused"


def unknown_model(client: openai.OpenAI) -> str:
    try:
        client.chat.completions.create(model="no-such", messages=[{"role": "user", "content": "x"}])
    except openai.NotFoundError as error:
        return str(error.code)
    return "found"


def main() -> None:
    base_url, key, audio = sys.argv[1:4]
    client = openai.OpenAI(base_url=base_url, api_key=key)
    findings = {
        "version": openai.__version__,
        "models": sorted(model.id for model in client.models.list()),
        "chat": chat(client),
        "embeddings": embeddings(client),
        "transcript": transcript(client, Path(audio)),
        "refused": refused(base_url),
        "unknown_model": unknown_model(client),
    }
    sys.stdout.write(json.dumps(findings))


if __name__ == "__main__":
    main()
