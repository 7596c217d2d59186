"""What one request asks of llama.cpp, checked and translated; pure but for the tokenizer.

Used by `llm_gguf` only.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inference import wire
from inference.engines.allowance import within_budget
from inference.engines.llama_vision import Eyes, Pictured, has_images
from inference.engines.prompts import PromptEncoder, check_context, param_of
from inference.errors import InvalidValue, UnsupportedParameter

SEEDS = 2**32 - 1  # llama.cpp takes the last 32-bit value as "no seed"
BANNED = -100.0  # OpenAI: a bias of -100 is a ban
MAX_LOGPROBS = 100
Prompt = list[int] | dict[str, Any]  # tokens, or what `Pictured` gives


@dataclass(frozen=True, slots=True)
class Ask:
    """One checked request."""

    tokens: list[int]
    sampling: wire.Sampling
    max_tokens: int  # that may be generated, within the context
    open_ended: bool  # nobody said how many: it may be less at first, and grow
    n: int
    logprobs: int | None
    seed: int
    seeded: bool  # by the client, who wants the same answer again
    pictured: Pictured | None = None  # a prompt with images; `tokens` is empty then

    @property
    def prompt_tokens(self) -> int:
        return self.pictured.tokens if self.pictured else len(self.tokens)

    @property
    def exact(self) -> bool:
        """True where every token must be known by itself: one step of llama.cpp at a time.

        llama.cpp's own stream counts the prompt in its penalties, and gives one log probability for
        a character that is made of several tokens.
        """
        return self.logprobs is not None or _has_penalties(self.sampling)


def prepare(
    body: wire.Generate, encoder: PromptEncoder, context_tokens: int, eyes: Eyes | None = None
) -> Ask:
    """Raises: InvalidRequest in all its kinds; TokenBudgetExceeded."""
    _check(body, encoder.vocab_tokens)
    pictured, tokens = _pictured(body, eyes, context_tokens), []
    if pictured is None:
        tokens = encoder.encode(body.prompt, context_tokens)
    count = pictured.tokens if pictured else len(tokens)
    asked = body.sampling.max_tokens
    limit = check_context(count, asked, context_tokens, param_of(body.prompt))
    limit = within_budget(limit, count, body)
    seed = body.sampling.seed
    return Ask(
        tokens=tokens,
        sampling=body.sampling,
        max_tokens=limit,
        open_ended=asked is None,
        n=body.n,
        logprobs=body.logprobs,
        seeded=seed is not None,
        seed=random.randrange(SEEDS) if seed is None else seed % SEEDS,  # noqa: S311  no secret
        pictured=pictured,
    )


def _pictured(body: wire.Generate, eyes: Eyes | None, context_tokens: int) -> Pictured | None:
    """Raises: UnsupportedParameter where each token must be known: llama.cpp takes text with images."""
    prompt = body.prompt
    if eyes is None or not isinstance(prompt, wire.ChatPrompt) or not has_images(prompt):
        return None
    if body.logprobs is not None or _has_penalties(body.sampling):
        what = "logprobs" if body.logprobs is not None else "a presence or frequency penalty"
        raise UnsupportedParameter(
            f"{what} together with images is not there for GGUF models",
            param="logprobs" if body.logprobs is not None else "presence_penalty",
        )
    return eyes.see(prompt, context_tokens)


def _has_penalties(sampling: wire.Sampling) -> bool:
    return bool(sampling.presence_penalty or sampling.frequency_penalty)


def _check(body: wire.Generate, vocab_tokens: int) -> None:
    if body.n < 1:
        raise InvalidValue("n must be at least 1", param="n")
    if body.echo and body.logprobs is not None:
        raise UnsupportedParameter(
            "echo together with logprobs is not there for GGUF models", param="echo"
        )
    if body.logprobs is not None and not 0 <= body.logprobs <= MAX_LOGPROBS:
        raise InvalidValue(f"logprobs must be between 0 and {MAX_LOGPROBS}", param="logprobs")
    for token in body.sampling.logit_bias:
        if not 0 <= token < vocab_tokens:
            raise InvalidValue(
                f"token {token} is not in this model's vocabulary of {vocab_tokens} tokens",
                param="logit_bias",
            )


def stream_body(ask: Ask, prompt: Prompt, max_tokens: int, seed: int) -> dict[str, Any]:
    """Ask for a whole answer."""
    return _body(ask, prompt, ask.sampling.logit_bias, seed) | {
        "n_predict": max_tokens,
        "stream": True,
        "timings_per_token": True,  # how many tokens each piece of text is
        "return_progress": True,  # so that a cancel is seen while the prompt is computed
    }


@dataclass(slots=True)
class Penalties:
    """OpenAI's penalties over the generated tokens, as a bias for the next one."""

    sampling: wire.Sampling
    counts: dict[int, int] = field(default_factory=dict)

    def saw(self, token: int) -> None:
        self.counts[token] = self.counts.get(token, 0) + 1

    def bias(self) -> dict[int, float]:
        """Source: OpenAI's API reference: logit -= count * frequency + (count > 0) * presence."""
        bias = dict(self.sampling.logit_bias)
        for token, count in self.counts.items():
            if bias.get(token, 0.0) > BANNED:
                penalty = count * self.sampling.frequency_penalty + self.sampling.presence_penalty
                bias[token] = bias.get(token, 0.0) - penalty
        return bias


def step_body(ask: Ask, tokens: list[int], penalties: Penalties, seed: int) -> dict[str, Any]:
    """Ask for the next token only."""
    bias = penalties.bias()
    banned = {token for token, value in ask.sampling.logit_bias.items() if value <= BANNED}
    return _body(ask, tokens, bias, seed, banned) | {
        "n_predict": 1,
        "return_tokens": True,
        "n_probs": 0 if ask.logprobs is None else max(1, ask.logprobs),
    }


def score_body(tokens: list[int], forced: int, probabilities: int) -> dict[str, Any]:
    """Ask how probable each next token is; `forced` is what llama.cpp then picks."""
    return {
        "prompt": tokens,
        "n_predict": 1,
        "temperature": 0.0,
        "samplers": ["temperature"],
        "logit_bias": [[forced, 1e6]],
        "n_probs": probabilities,
        "cache_prompt": True,
    }


def _body(
    ask: Ask,
    prompt: Prompt,
    bias: Mapping[int, float],
    seed: int,
    banned: set[int] | None = None,
) -> dict[str, Any]:
    sampling = ask.sampling
    if banned is None:
        banned = {token for token, value in bias.items() if value <= BANNED}
    return {
        "prompt": prompt,
        "cache_prompt": True,
        "seed": seed,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": ask.prompt_tokens + ask.max_tokens,
        "samplers": _samplers(sampling),
        "logit_bias": [[t, False if t in banned else value] for t, value in bias.items()],
        "ignore_eos": sampling.ignore_eos,
    }


def _samplers(sampling: wire.Sampling) -> list[str]:
    """Name those that do something: temperature first, as OpenAI and transformers have it."""
    wanted = {
        "penalties": sampling.repetition_penalty != 1.0,
        "temperature": True,
        "top_k": sampling.top_k > 0 and sampling.temperature > 0,
        "top_p": sampling.top_p < 1.0 and sampling.temperature > 0,
        "min_p": sampling.min_p > 0.0 and sampling.temperature > 0,
    }
    return [name for name, on in wanted.items() if on]
