"""Prompts share a step: a short one passes a long one, and nobody stands still."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.engines.base import Job
from inference.engines.choice import Computing, Request, shared
from inference.engines.decoder import FIRST_IMAGE
from inference.engines.kv_cache import Layout, Stage

LAYOUT = Layout(1, 1, 1, 1, torch.float32, torch.device("cpu"))


def prompt_of(left: int) -> Computing:
    body = wire.Generate(prompt=wire.TokenPrompt(tokens=[1]))
    request = Request(Job(1, body, lambda _frame: None), body, [1], room=1)
    return Computing(request, [], [1] * left, Stage(LAYOUT, 1))


@given(st.lists(st.integers(1, 4_000), max_size=8), st.integers(1, 600))
def test_a_step_is_filled_and_the_oldest_gets_half(lengths: list[int], budget: int) -> None:
    works = [prompt_of(length) for length in lengths]
    given_to = {id(work): len(piece.tokens) for work, piece in shared(works, budget)}
    assert len(given_to) <= len(works)
    assert sum(given_to.values()) == min(budget, sum(lengths))
    if works:
        assert given_to[id(works[0])] >= min(lengths[0], budget // 2)


def test_a_short_prompt_passes_a_long_one() -> None:
    long, short = prompt_of(4_000), prompt_of(30)
    pieces = {id(work): piece for work, piece in shared([long, short], 512)}
    assert len(pieces[id(short)].tokens) == 30
    assert pieces[id(short)].want == 1  # it has its first token after this step
    assert len(pieces[id(long)].tokens) == 482


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 40)), min_size=1, max_size=4),
    st.integers(1, 50),
)
def test_no_step_ends_inside_an_image_that_is_seen_whole(
    parts: list[tuple[int, int]], budget: int
) -> None:
    tokens, ends = list[int](), set[int]()
    for words, size in parts:
        tokens += [1] * words
        ends |= {len(tokens) + at for at in range(1, size)}  # inside of it
        tokens += [FIRST_IMAGE + at for at in range(size)]
    work = prompt_of(1)
    work.tokens, work.request.whole_images = tokens, True
    while piece := work.next_piece(budget):
        work.computed += len(piece.tokens)
        assert work.computed not in ends
    assert work.left == 0
