"""Ask a text engine and read its answers; used by the tests of llm_transformers."""

import codecs
import math
import random
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from inference import wire
from inference.engines.decoder import Decoder, Prefill
from inference.engines.kv_cache import Stage
from inference.engines.llm_transformers import LlmTransformers
from inference.engines.vocabulary import Vocabulary

from .driving import Answer, Driver
from .tiny_models import VOCAB

LIKELIEST = {"temperature": 1.0, "top_k": 1}  # greedy, but not asked to be repeatable


def drive(folder: Path, **spec: Any) -> Driver:
    fields = {"name": "tiny", "kind": "llm", "engine": "llm_transformers", "dtype": "float32"}
    return Driver(LlmTransformers(), wire.ModelSpec(path=str(folder), **{**fields, **spec}))


def ask_tokens(tokens: list[int], max_tokens: int | None, **rules: Any) -> wire.Generate:
    """Ask for tokens after these, greedily unless told otherwise."""
    outer = {k: rules.pop(k) for k in ("n", "logprobs", "echo", "budget") if k in rules}
    sampling = wire.Sampling(
        max_tokens=max_tokens, **{"temperature": 0.0, "ignore_eos": True, **rules}
    )
    return wire.Generate(prompt=wire.TokenPrompt(tokens=tokens), sampling=sampling, **outer)


def asks(tokens: list[int], count: int, adapter: wire.Adapter | None) -> wire.Generate:
    return msgspec.structs.replace(ask_tokens(tokens, count), adapter=adapter)


def some_tokens(count: int, seed: int = 0) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(3, VOCAB) for _ in range(count)]


def text_of(answer: Answer, index: int = 0) -> str:
    return "".join(delta.text for delta in deltas_of(answer, index))


def deltas_of(answer: Answer, index: int = 0) -> list[wire.Delta]:
    return [delta for delta in answer.of(wire.Delta) if delta.index == index]


def said(answer: Answer, index: int = 0) -> list[tuple[str, bytes]]:
    """Give the tokens of an answer that was asked with logprobs, as (text, bytes)."""
    return [(told.token, told.raw) for d in deltas_of(answer, index) for told in d.logprobs or []]


def named(vocabulary: Vocabulary, tokens: list[int]) -> list[tuple[str, bytes]]:
    return [vocabulary.token_text(token) for token in tokens]


def shown(vocabulary: Vocabulary, tokens: list[int]) -> str:
    """Give the text of these tokens; a character that is cut at the end is left out."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return decoder.decode(b"".join(map(vocabulary.token_bytes, tokens)))


def usage_of(answer: Answer) -> wire.Usage:
    last = answer.wait()
    assert isinstance(last, wire.Done), last
    return last.usage


def decoder_of(driver: Driver) -> Decoder:
    decoder = driver.engine._decoder  # type: ignore[attr-defined]
    assert isinstance(decoder, Decoder)
    return decoder


def logits_of(driver: Driver, tokens: list[int]) -> Tensor:
    """Compute the logits after each of these tokens at once, (tokens, vocabulary), in float32."""
    decoder = decoder_of(driver)
    stage = Stage(decoder.layout, len(tokens))
    return decoder.step([], [Prefill(stage, tokens, 0, len(tokens))]).float()


def perplexity(driver: Driver, text: str, count: int) -> float:
    """Give how badly the first `count` tokens of a text are foreseen; 1 is perfect."""
    vocabulary: Vocabulary = driver.engine._vocabulary  # type: ignore[attr-defined]
    tokens = vocabulary.encode(text, special=False)[:count]
    told = logits_of(driver, tokens)[:-1].log_softmax(-1)
    return math.exp(-float(told.gather(1, torch.tensor(tokens[1:])[:, None]).mean()))
