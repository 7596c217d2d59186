"""Tokens are drawn from the distribution that the request asked for."""

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import wire
from inference.engines.sampling import NUCLEUS_TOKENS, Sampler, choose, make_sampler

ROWS = st.lists(st.floats(-8, 8, width=32), min_size=3, max_size=40)


def sampler(**rules: Any) -> Sampler:
    return Sampler(wire.Sampling(**rules), random.Random(rules.get("seed", 0)))


def allowed(logits: list[float], rules: dict[str, Any]) -> set[int]:
    """The tokens that the rules leave, by their definition, one token at a time."""
    scaled = torch.tensor(logits, dtype=torch.float64) / rules["temperature"]
    probabilities = scaled.softmax(-1)
    order = sorted(range(len(logits)), key=lambda at: -float(scaled[at]))
    if rules["top_k"]:
        least = float(scaled[order[min(rules["top_k"], len(order)) - 1]])
        order = [at for at in order if float(scaled[at]) >= least]
    total = float(sum(probabilities[at] for at in order))
    kept: set[int] = set()
    before = 0.0
    for at in order:
        if kept and before / total >= rules["top_p"] + 1e-5:
            break
        kept.add(at)
        before += float(probabilities[at])
    top = float(probabilities.max())
    return {at for at in kept if float(probabilities[at]) >= rules["min_p"] * top * (1 - 1e-5)}


@settings(deadline=None, max_examples=150)
@given(
    logits=ROWS,
    temperature=st.floats(0.2, 3),
    top_p=st.floats(0.05, 1),
    top_k=st.integers(0, 10),
    min_p=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
def test_it_draws_only_what_the_rules_leave(logits: list[float], seed: int, **rules: Any) -> None:
    chosen = choose(torch.tensor([logits]), [sampler(seed=seed, **rules)])[0].token
    assert any(abs(logits[chosen] - logits[at]) < 1e-4 for at in allowed(logits, rules))


def test_it_draws_with_the_right_frequencies() -> None:
    logits = torch.tensor([1.0, 2.0, 0.0, 3.0])
    count = 20_000
    rows = [sampler(seed=at, temperature=1.5) for at in range(count)]
    tokens = [chosen.token for chosen in choose(logits.expand(count, 4), rows)]
    found = torch.bincount(torch.tensor(tokens), minlength=4) / count
    assert found.tolist() == pytest.approx((logits / 1.5).softmax(-1).tolist(), abs=0.015)


def test_a_wide_nucleus_is_sorted_whole() -> None:
    vocab = NUCLEUS_TOKENS * 4
    logits = torch.zeros(1, vocab)
    logits[0, : vocab // 2] = 1e-3
    tokens = {choose(logits, [sampler(seed=seed, top_p=0.999)])[0].token for seed in range(400)}
    assert max(tokens) > vocab // 2


@settings(deadline=None)
@given(rows=st.lists(ROWS.filter(lambda row: len(row) >= 8), min_size=2, max_size=5))
def test_each_row_follows_its_own_rules(rows: list[list[float]]) -> None:
    logits = torch.tensor([row[:8] for row in rows])
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 1.0, "top_p": 0.7},
        {"top_k": 2},
    ]
    made = [{**kinds[at % 3], "seed": at} for at in range(len(rows))]
    together = [chosen.token for chosen in choose(logits, [sampler(**rules) for rules in made])]
    alone = [
        choose(logits[at : at + 1], [sampler(**rules)])[0].token for at, rules in enumerate(made)
    ]
    assert together == alone


def test_penalties_count_what_was_said() -> None:
    body = wire.Generate(
        prompt=wire.TokenPrompt(tokens=[3]),
        sampling=wire.Sampling(temperature=0, frequency_penalty=1.0, presence_penalty=0.5),
    )
    made = make_sampler(body, 0, [3], 4, torch.device("cpu"))
    logits = torch.tensor([[3.0, 2.0, 1.9, 0.0]])
    assert [choose(logits, [made])[0].token for _ in range(5)] == [0, 1, 2, 0, 0]
    said = made.counts
    assert said is not None
    assert float(said.sum()) == 5


def test_repetition_penalty_knows_the_prompt() -> None:
    body = wire.Generate(
        prompt=wire.TokenPrompt(tokens=[0]),
        sampling=wire.Sampling(temperature=0, repetition_penalty=2.0),
    )
    made = make_sampler(body, 0, [0], 3, torch.device("cpu"))
    assert choose(torch.tensor([[3.0, 2.0, -1.0]]), [made])[0].token == 1
    assert choose(torch.tensor([[3.0, 2.0, 1.2]]), [made])[0].token == 0
