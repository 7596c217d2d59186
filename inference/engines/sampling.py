"""Choosing tokens: each row of a batch by its own rules, all rows at once, one device sync per step.

Order of the rules: penalties, bias, temperature, top-k, top-p, min-p, then one uniform number per
token from the choice's own generator, so that a seed gives the same answer in any batch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from inference import wire
from inference.errors import InvalidValue

BLOCK_TOKENS = 256
LAST_LEVEL = 1 - 1e-12  # rounding must not draw behind the last possible token
NUCLEUS_TOKENS = 1024  # how many of the likeliest are sorted before all of them are


@dataclass(eq=False)
class Sampler:
    """One choice's rules and the state that they need between tokens."""

    sampling: wire.Sampling
    random: random.Random
    logprobs: int | None = None
    counts: Tensor | None = None  # (V,) how often each token was generated
    seen: Tensor | None = None  # (V,) True for tokens of the prompt or the answer
    bias: tuple[Tensor, Tensor] | None = None  # ids, values

    @property
    def greedy(self) -> bool:
        return self.sampling.temperature <= 0

    @property
    def plain(self) -> bool:
        """True where the token is simply the likeliest."""
        return self.greedy and self.logprobs is None and not self.adjusted

    @property
    def adjusted(self) -> bool:
        return self.bias is not None or self.counts is not None or self.seen is not None


def make_sampler(
    body: wire.Generate, index: int, prompt: Sequence[int], vocab_tokens: int, device: torch.device
) -> Sampler:
    """Raises: InvalidValue naming a biased token that the model does not have."""
    rules = body.sampling
    generator = random.Random(_seed(rules.seed, index))  # noqa: S311 (no secret is made of it)
    sampler = Sampler(rules, generator, body.logprobs)
    if rules.presence_penalty or rules.frequency_penalty:
        sampler.counts = torch.zeros(vocab_tokens, device=device)
    if rules.repetition_penalty != 1.0:
        sampler.seen = torch.zeros(vocab_tokens, dtype=torch.bool, device=device)
        sampler.seen[torch.tensor(prompt, device=device)] = True
    if rules.logit_bias:
        for token in rules.logit_bias:
            if not 0 <= token < vocab_tokens:
                raise InvalidValue(
                    f"logit_bias names token {token}; this model has {vocab_tokens} tokens",
                    param="logit_bias",
                )
        ids = torch.tensor(list(rules.logit_bias), device=device)
        sampler.bias = ids, torch.tensor(list(rules.logit_bias.values()), device=device)
    return sampler


def _seed(seed: int | None, index: int) -> int | None:
    """Give each choice of a request its own stream of numbers."""
    return None if seed is None else (seed << 16) ^ index


@dataclass(slots=True)
class Chosen:
    """A token; with log probabilities where they were asked for (natural, of the raw logits)."""

    token: int
    sound: bool = True  # its logits were numbers
    logprob: float | None = None
    top: list[tuple[int, float]] = field(default_factory=list)


@torch.inference_mode()
def choose(logits: Tensor, samplers: Sequence[Sampler]) -> list[Chosen]:
    """Choose a token for each row of `logits` (N, V)."""
    raw = logits.float()  # the argmax of bf16 takes three times as long
    if all(sampler.plain for sampler in samplers):
        return _read(raw, raw.argmax(-1))
    tokens_of = _tokens(_adjust(raw, samplers), samplers)
    for sampler, token in zip(samplers, tokens_of.unbind(0), strict=True):
        if sampler.adjusted:
            _note_on_device(sampler, token)
    wanted = [at for at, sampler in enumerate(samplers) if sampler.logprobs is not None]
    return _with_logprobs(raw, tokens_of, samplers, wanted) if wanted else _read(raw, tokens_of)


def sound(raw: Tensor) -> Tensor:
    """Tell of each row whether it holds numbers: a model may forbid tokens, but not all, (N,)."""
    return raw.amax(-1).isfinite()


def _read(raw: Tensor, tokens: Tensor) -> list[Chosen]:
    rows = torch.stack((tokens, sound(raw).long()), -1).tolist()
    return [Chosen(token, sound=bool(is_sound)) for token, is_sound in rows]


def _note_on_device(sampler: Sampler, token: Tensor) -> None:
    if sampler.counts is not None:
        sampler.counts.index_add_(0, token[None], torch.ones_like(sampler.counts[:1]))
    if sampler.seen is not None:
        sampler.seen.index_fill_(0, token[None], value=True)


# --- penalties and bias -----------------------------------------------------------------------------


def _adjust(raw: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Apply each row's penalties and bias; rows without any are left as they are."""
    if not any(sampler.adjusted for sampler in samplers):
        return raw
    logits = raw.clone()
    for row, sampler in zip(logits.unbind(0), samplers, strict=True):
        rules = sampler.sampling
        if sampler.seen is not None:
            scaled = torch.where(
                row > 0, row / rules.repetition_penalty, row * rules.repetition_penalty
            )
            row.copy_(torch.where(sampler.seen, scaled, row))
        if sampler.counts is not None:
            row.sub_(sampler.counts, alpha=rules.frequency_penalty)
            row.sub_((sampler.counts > 0).float(), alpha=rules.presence_penalty)
        if sampler.bias is not None:
            row.index_add_(0, *sampler.bias)
    return logits


# --- temperature and filters ------------------------------------------------------------------------


def _tokens(logits: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Give the chosen tokens, (N,)."""
    rows = [at for at, sampler in enumerate(samplers) if not sampler.greedy]
    if len(rows) == len(samplers):
        return _sample(logits, samplers)
    likeliest = logits.argmax(-1)
    if not rows:
        return likeliest
    index = torch.tensor(rows, device=logits.device)
    sampled = _sample(logits[index], [samplers[at] for at in rows])
    return likeliest.index_copy(0, index, sampled)


def _sample(logits: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    rules = [sampler.sampling for sampler in samplers]
    columns = torch.tensor(
        [[rule.temperature, rule.top_p, rule.min_p] for rule in rules],
        dtype=torch.float32,
        device=logits.device,
    )
    if any(rule.temperature != 1 for rule in rules):
        logits = logits / columns[:, 0:1]
    if any(rule.top_k for rule in rules):
        logits = _keep_top_k(logits, [rule.top_k for rule in rules])
    probabilities = logits.softmax(-1)
    if any(rule.top_p < 1 for rule in rules):
        probabilities = _keep_top_p(probabilities, columns[:, 1:2])
    if any(rule.min_p > 0 for rule in rules):
        least = probabilities.amax(-1, keepdim=True) * columns[:, 2:3]
        probabilities = probabilities.masked_fill(probabilities < least, 0)
    return _draw(probabilities, [sampler.random.random() for sampler in samplers])


def _keep_top_k(logits: Tensor, top_k: Sequence[int]) -> Tensor:
    """Leave the k largest of each row; k = 0 leaves all."""
    vocab = logits.shape[-1]
    sizes = [min(k, vocab) or vocab for k in top_k]
    limited = [min(size, vocab) for size in sizes if size < vocab]
    if not limited:
        return logits
    largest = logits.topk(max(limited), -1).values
    at = torch.tensor([[min(size, max(limited)) - 1] for size in sizes], device=logits.device)
    least = largest.gather(-1, at)
    unlimited = torch.tensor([[size == vocab] for size in sizes], device=logits.device)
    return logits.masked_fill((logits < least) & ~unlimited, float("-inf"))


def _keep_top_p(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Leave the smallest set of likeliest tokens whose sum reaches top_p; one at least."""
    vocab = probabilities.shape[-1]
    head = probabilities.topk(min(NUCLEUS_TOKENS, vocab), -1).values
    least = _nucleus_least(head, top_p)
    missing = (head.sum(-1, keepdim=True) < top_p) & (top_p < 1)
    wide: list[int] = missing[:, 0].nonzero()[:, 0].tolist() if head.shape[-1] < vocab else []
    if wide:
        whole = probabilities[wide].sort(-1, descending=True).values
        least[wide] = _nucleus_least(whole, top_p[wide])
    return probabilities.masked_fill((probabilities < least) & (top_p < 1), 0)


def _nucleus_least(descending: Tensor, top_p: Tensor) -> Tensor:
    """Give the smallest probability inside the nucleus of each row, (N, 1)."""
    before = descending.cumsum(-1) - descending
    inside = (before < top_p).sum(-1, keepdim=True).clamp(min=1)
    return descending.gather(-1, inside - 1)


def _draw(probabilities: Tensor, uniform: Sequence[float]) -> Tensor:
    """Invert the cumulative distribution at one number of [0, 1) for each row.

    In two stages, over blocks and then inside of one: a sum over the vocabulary is cheap, a
    cumulative sum is not.
    """
    blocks = F.pad(probabilities, (0, -probabilities.shape[-1] % BLOCK_TOKENS))
    blocks = blocks.view(len(blocks), -1, BLOCK_TOKENS)
    at = torch.tensor(uniform, dtype=torch.float64, device=probabilities.device)[:, None]
    cumulative = blocks.sum(-1).double().cumsum(-1)
    level = at * cumulative[:, -1:]
    block = torch.searchsorted(cumulative, level, right=True).clamp(max=blocks.shape[1] - 1)
    before = F.pad(cumulative, (1, 0)).gather(-1, block)
    rows = torch.arange(len(blocks), device=blocks.device)
    inner = blocks[rows, block[:, 0]].double().cumsum(-1)
    level = (level - before).minimum(inner[:, -1:] * LAST_LEVEL)
    found = (block * BLOCK_TOKENS + torch.searchsorted(inner, level, right=True))[:, 0]
    return found.clamp(max=probabilities.shape[-1] - 1)  # of what is no number, any


# --- log probabilities ------------------------------------------------------------------------------


def _with_logprobs(
    raw: Tensor, tokens: Tensor, samplers: Sequence[Sampler], wanted: Sequence[int]
) -> list[Chosen]:
    index = torch.tensor(wanted, device=raw.device)
    most = max(samplers[at].logprobs or 0 for at in wanted)
    table = logprob_table(raw[index], tokens[index], most)
    packed = torch.cat((tokens.double(), sound(raw).double(), table.flatten())).tolist()
    count, width = len(samplers), table.shape[1]
    chosen = [Chosen(int(packed[at]), sound=bool(packed[count + at])) for at in range(count)]
    for row, at in enumerate(wanted):
        begin = 2 * count + row * width
        read_logprobs(chosen[at], packed[begin : begin + width], samplers[at].logprobs or 0)
    return chosen


def logprob_table(raw: Tensor, tokens: Tensor, most: int) -> Tensor:
    """Give (N, 1 + 2 * most): the token's log probability, then the best ones' ids and values."""
    logprobs = raw.log_softmax(-1)
    own = logprobs.gather(-1, tokens[:, None]).double()
    best = logprobs.topk(min(most, raw.shape[-1]), -1)
    return torch.cat((own, best.indices.double(), best.values.double()), -1)


def read_logprobs(chosen: Chosen, row: Sequence[float], top: int) -> None:
    """Take over one row of `logprob_table`."""
    most = (len(row) - 1) // 2
    chosen.logprob = row[0]
    chosen.top = [(int(row[1 + at]), row[1 + most + at]) for at in range(min(top, most))]
