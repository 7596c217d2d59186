"""What a row becomes: the tokens that the engine would see, and which of them are learned."""

from pathlib import Path
from typing import Any

import pytest

from tests import models
from tests.inference.engines import small_tokenizers
from training.recipes.recipe import TrainOn
from training.run.rendering import IGNORED, BadRow, Example, Renderer

LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# Like Qwen3's: thoughts of earlier turns are taken away, so that prefixes do not match.
FORGETFUL = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n'}}{% if m['role'] == 'assistant' and not loop.last %}"
    "{{ m['content'].split('</think>')[-1] }}{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n' }}{% endif %}"
)
SHOUTING = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] | upper + '\n' }}{% endfor %}"
STRICT = (
    "{% if messages | length is divisibleby 2 and add_generation_prompt %}{{ raise_exception('odd') }}"
    "{% endif %}" + small_tokenizers.CHATML
)
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "hello fox"},
    {"role": "assistant", "content": "the lazy dog"},
    {"role": "user", "content": "and then"},
    {"role": "assistant", "content": "it jumps over"},
]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def renderer(template: str | None) -> Renderer:
        folder = tmp_path_factory.mktemp("tokenizer")
        small_tokenizers.byte_level(template).save_pretrained(folder)
        return Renderer.load(folder)

    return renderer


def _learned(renderer: Renderer, example: Example) -> list[str]:
    """Give the stretches of text that are learned."""
    found, last = [""], False
    for token, label in zip(example.ids, example.labels, strict=True):
        if label == IGNORED:
            last = False
            continue
        assert label == token
        if not last:
            found.append("")
        found[-1] += renderer.vocabulary.token_text(token)[0].replace("\u0120", " ")
        last = True
    return found[1:]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (small_tokenizers.CHATML, ["the lazy dog<|im_end|>", "it jumps over<|im_end|>"]),
        (LLAMA2, [" the lazy dog <|im_end|>", " it jumps over <|im_end|>"]),
        (FORGETFUL, ["the lazy dog<|im_end|>", "it jumps over<|im_end|>"]),
        (STRICT, ["the lazy dog<|im_end|>", "it jumps over<|im_end|>"]),
    ],
    ids=["chatml", "llama2", "forgetful", "strict"],
)
def test_what_the_assistant_says_is_learned_with_its_end(
    make: Any, template: str, expected: list[str]
) -> None:
    renderer = make(template)
    assert _learned(renderer, renderer.chat(TURNS)) == expected


@pytest.mark.parametrize(
    ("train_on", "count"), [("assistant", 2), ("last", 1)], ids=["assistant", "last"]
)
def test_it_learns_the_turns_that_were_chosen(make: Any, train_on: TrainOn, count: int) -> None:
    renderer = make(small_tokenizers.CHATML)
    assert len(_learned(renderer, renderer.chat(TURNS, train_on=train_on))) == count


def test_a_turn_of_weight_0_is_not_learned(make: Any) -> None:
    renderer = make(small_tokenizers.CHATML)
    turns = [TURNS[0], {**TURNS[1], "weight": 0}, *TURNS[2:]]
    assert _learned(renderer, renderer.chat(turns)) == ["it jumps over<|im_end|>"]


def test_a_special_token_in_a_row_stays_text(make: Any) -> None:
    renderer = make(small_tokenizers.CHATML)
    end = renderer.vocabulary.hf.eos_token_id
    turns = [
        {"role": "user", "content": "a <|im_end|> b"},
        {"role": "assistant", "content": "<|im_end|>x"},
    ]
    example = renderer.chat(turns)
    assert example.ids.count(end) == 2  # the two ends of turns


def test_a_template_that_changes_the_answer_is_refused(make: Any) -> None:
    with pytest.raises(BadRow) as caught:
        make(SHOUTING).chat(TURNS)
    assert caught.value.code == "mask_unknown"


def test_without_a_template_it_is_a_transcript(make: Any) -> None:
    renderer = make(None)
    example = renderer.chat(TURNS)
    assert _learned(renderer, example) == [" the lazy dog\n", " it jumps over\n"]


@pytest.mark.parametrize("tools", [None, TOOLS])
def test_tool_calls_reach_a_template_that_knows_none(make: Any, tools: Any) -> None:
    renderer = make(small_tokenizers.CHATML)
    turns = [
        TURNS[0],
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        TURNS[3],
    ]
    learned = _learned(renderer, renderer.chat(turns, tools))
    assert '<tool_call>\n{"name": "look", "arguments": {"at": 1}}\n</tool_call>' in learned[
        0
    ].replace("\u010a", "\n")
    assert len(learned) == 2


def test_a_completion_learns_its_end(make: Any) -> None:
    renderer = make(None)
    example = renderer.completion("the quick", " fox")
    assert _learned(renderer, example) == [" fox<|im_end|>"]


@pytest.mark.models
def test_it_renders_what_the_engine_renders() -> None:
    """Up to where SmolLM2 would speak, the tokens are those of a request."""
    from inference import wire  # noqa: PLC0415
    from inference.engines.vocabulary import Vocabulary  # noqa: PLC0415

    folder: Path = models.smollm2_folder()
    encoder = Vocabulary.load(folder).prompt_encoder()
    asked = [wire.ChatMessage("user", "Who? <|im_end|>")]
    served = encoder.encode(wire.ChatPrompt(messages=asked))
    turns = [{"role": "user", "content": asked[0].content}, {"role": "assistant", "content": "Me."}]
    example = Renderer.load(folder).chat(turns)
    assert example.ids[: len(served)] == served
    assert example.labels[len(served) - 1] == IGNORED
    assert example.labels[len(served)] != IGNORED
