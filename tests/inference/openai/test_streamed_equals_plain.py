"""A streamed answer put together again is the plain one."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.openai import chat, chat_reply, completions, completions_reply, reply

HEAD = reply.head("x", "m", "m@1")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
LOGPROB = st.floats(-50, 0)
TOP = st.builds(wire.TopLogprob, TEXT, LOGPROB, st.binary(max_size=3))
TOKEN = st.builds(wire.TokenLogprob, TEXT, LOGPROB, TEXT.map(str.encode), st.lists(TOP, max_size=2))
REASON: st.SearchStrategy[wire.FinishReason] = st.sampled_from(["stop", "length"])


@st.composite
def answers(draw: st.DrawFn, choices: int) -> list[wire.Delta]:
    """Deltas of several choices, mixed; each choice ends once."""
    deltas = []
    for index in range(choices):
        texts = draw(st.lists(TEXT, max_size=5))
        logprobs = [draw(st.lists(TOKEN, max_size=3)) for _ in texts]
        deltas.append(
            [
                wire.Delta(index=index, text=t, logprobs=p)
                for t, p in zip(texts, logprobs, strict=True)
            ]
            + [wire.Delta(index=index, finish_reason=draw(REASON))]
        )
    order = draw(st.permutations([i for i, part in enumerate(deltas) for _ in part]))
    iterators = [iter(part) for part in deltas]
    return [next(iterators[i]) for i in order]


def documents(stream: bytes) -> list[dict[str, Any]]:
    parts = stream.decode().split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


DONE = [wire.Done(usage=wire.Usage(prompt_tokens=3, completion_tokens=4))]


@given(answers(2), st.booleans(), st.booleans())
def test_chat(deltas: list[wire.Delta], with_usage: bool, obfuscate: bool) -> None:
    options = {"include_usage": with_usage, "include_obfuscation": obfuscate}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "n": 2}
    body |= {"stream": True, "stream_options": options, "logprobs": True, "top_logprobs": 2}
    parsed = chat.parse(json.dumps(body).encode())
    plain, stream = chat_reply.PlainEncoder(parsed, HEAD), chat_reply.StreamEncoder(parsed, HEAD)
    sent = stream.start()
    for delta in deltas:
        plain.add(delta, 0)
        sent += stream.add(delta, 0)
    whole = json.loads(plain.finish(DONE))
    chunks = documents(sent + stream.finish(DONE))
    if with_usage:
        last = chunks.pop()
        assert (last["choices"], last["usage"]) == ([], whole["usage"])
        assert all(chunk["usage"] is None for chunk in chunks)
    _check_chat(chunks, whole)


def _check_chat(chunks: list[dict[str, Any]], whole: dict[str, Any]) -> None:
    assert [chunk["choices"][0]["index"] for chunk in chunks][:2] == [0, 1]
    for choice in whole["choices"]:
        parts = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        assert all({"delta", "logprobs", "finish_reason"} <= part.keys() for part in parts)
        texts = [part["delta"].get("content", "") for part in parts]
        assert "".join(texts) == choice["message"]["content"]
        assert [p["delta"]["role"] for p in parts if "role" in p["delta"]] == ["assistant"]
        reasons = [p["finish_reason"] for p in parts if p["finish_reason"]]
        assert reasons == [choice["finish_reason"]]
        logprobs = [t for p in parts for t in (p["logprobs"] or {"content": []})["content"]]
        assert logprobs == choice["logprobs"]["content"]


@given(answers(2), answers(2))
def test_completions(first: list[wire.Delta], second: list[wire.Delta]) -> None:
    body = {"model": "m", "prompt": ["a", "b"], "n": 2, "logprobs": 2, "stream": True}
    parsed = completions.parse(json.dumps(body).encode())
    plain = completions_reply.PlainEncoder(parsed, HEAD)
    stream = completions_reply.StreamEncoder(parsed, HEAD)
    sent = stream.start()
    for prompt, deltas in enumerate([first, second]):
        for delta in deltas:
            plain.add(delta, prompt)
            sent += stream.add(delta, prompt)
    whole = json.loads(plain.finish(DONE * 2))
    assert whole["usage"]["total_tokens"] == 14
    chunks = documents(sent + stream.finish(DONE * 2))
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    for choice in whole["choices"]:
        parts = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [p["finish_reason"] for p in parts if p["finish_reason"]] == [
            choice["finish_reason"]
        ]
        for name, values in choice["logprobs"].items():
            assert [value for part in parts for value in part["logprobs"][name]] == values


def test_padding_evens_out_the_lengths_of_chunks() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    body["stream_options"] = {"include_obfuscation": True}
    encoder = chat_reply.StreamEncoder(chat.parse(json.dumps(body).encode()), HEAD)
    sizes = {len(encoder.add(wire.Delta(text="x" * size), 0)) for size in range(1, 17)}
    assert len(sizes) == 1
