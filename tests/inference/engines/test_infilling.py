"""A prompt with a suffix becomes what code models were trained on; models that were not refuse it."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from inference import wire
from inference.engines import infilling
from inference.engines.llm_gguf import LlmGguf
from inference.engines.vocabulary import Vocabulary
from inference.errors import ContextLengthExceeded, UnsupportedParameter

from . import small_tokenizers, tiny_gguf, tiny_models
from .driving import Driver
from .generating import deltas_of, drive, shown, text_of, usage_of

CODE_LLAMA = ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>", "\u2581<EOT>")
QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>")
BEFORE, BEHIND = "def hello(", "):\n    return world"


def id_of(words: Vocabulary, name: str) -> int:
    found = words.hf.convert_tokens_to_ids(name)
    assert isinstance(found, int)
    return found


def vocabulary(make: Any, names: tuple[str, ...]) -> Vocabulary:
    tokenizer = make.__wrapped__(None)
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return Vocabulary(tokenizer)


MAKERS = [
    (small_tokenizers.byte_fallback, CODE_LLAMA),
    (small_tokenizers.byte_level, QWEN),
]


@pytest.mark.parametrize(("make", "names"), MAKERS)
def test_the_answer_stands_between(make: Any, names: tuple[str, ...]) -> None:
    words = vocabulary(make, names)
    encoder = words.prompt_encoder()
    tokens = encoder.encode(wire.TextPrompt(text=BEFORE, suffix=BEHIND))
    before, after, middle, _end = (id_of(words, name) for name in names)
    at = tokens.index(after)
    assert tokens[: at + 1] == [*encoder.prefix, before, *words.encode(BEFORE, False), after]
    assert tokens[-1] == middle
    assert b"".join(map(words.token_bytes, tokens[at + 1 : -1])) == BEHIND.encode()
    assert encoder.encode(wire.TextPrompt(text=BEFORE)) == words.encode(BEFORE, False)


def test_a_suffix_has_no_space_that_only_a_first_word_has() -> None:
    """As Metaspace puts it before every text, in CodeLlama's tokenizer."""

    def encode(text: str) -> list[int]:
        return [ord(letter) for letter in f"\u2581{text}".replace(" ", "\u2581")]

    found = infilling.Infill(1, 2, 3).tokens("a b", " c", encode)
    assert found == [1, *map(ord, "\u2581a\u2581b"), 2, *map(ord, "\u2581c"), 3]


def test_a_special_token_in_the_texts_is_text() -> None:
    words = vocabulary(small_tokenizers.byte_level, QWEN)
    end = id_of(words, "<|fim_middle|>")
    tokens = words.prompt_encoder().encode(
        wire.TextPrompt(text="<|fim_middle|>", suffix="<|fim_middle|>")
    )
    assert [at for at, token in enumerate(tokens) if token == end] == [len(tokens) - 1]


def test_models_without_such_tokens_refuse_it() -> None:
    encoder = Vocabulary(small_tokenizers.byte_level()).prompt_encoder()
    with pytest.raises(UnsupportedParameter, match="no tokens for filling in"):
        encoder.encode(wire.TextPrompt(text=BEFORE, suffix=BEHIND))


def test_a_suffix_counts_for_the_context() -> None:
    encoder = vocabulary(small_tokenizers.byte_level, QWEN).prompt_encoder()
    with pytest.raises(ContextLengthExceeded):
        encoder.encode(wire.TextPrompt(text="a", suffix="b " * 100_000), 64)


def test_a_gguf_header_names_its_tokens() -> None:
    by_name = {"<PRE>": 4, "<SUF>": 5, "<MID>": 6, "<EOT>": 7}.get
    new = {
        f"tokenizer.ggml.fim_{part}_token_id": at for at, part in enumerate(("pre", "suf", "mid"))
    }
    assert infilling.of_gguf(new, by_name) == infilling.Infill(0, 1, 2)
    old = {f"tokenizer.ggml.{part}_token_id": 3 for part in ("prefix", "suffix", "middle")}
    assert infilling.of_gguf(old, by_name) == infilling.Infill(3, 3, 3)
    assert infilling.of_gguf({}, by_name) == infilling.Infill(4, 5, 6, frozenset({7}))
    assert infilling.of_gguf({}, lambda _name: None) is None


def test_what_is_filled_in_ends_at_its_own_token(tmp_path: Path) -> None:
    folder = tiny_models.make(tmp_path / "code", "llama", vocab_size=tiny_models.VOCAB + len(QWEN))
    words = vocabulary(small_tokenizers.byte_level, QWEN)
    words.hf.save_pretrained(folder)
    driver = drive(folder)
    end = id_of(words, "<|fim_pad|>")
    prompt = wire.TextPrompt(text=BEFORE, suffix=BEHIND)
    try:
        tokens = words.prompt_encoder().encode(prompt)
        expected = tiny_models.Reference(folder).greedy(tokens, 8)
        rules = wire.Sampling(max_tokens=8, temperature=0.0)
        assert end not in expected
        answer = driver.ask(wire.Generate(prompt=prompt, sampling=rules))
        assert text_of(answer) == shown(words, expected)
        forced = wire.Sampling(max_tokens=8, temperature=0.0, logit_bias={end: 100.0})
        answer = driver.ask(wire.Generate(prompt=prompt, sampling=forced))
        assert (text_of(answer), deltas_of(answer)[-1].finish_reason) == ("", "stop")
    finally:
        driver.engine.close()


# --- GGUF -------------------------------------------------------------------------------------------


def gguf(folder: Path, names: tuple[str, ...]) -> tuple[Driver, tiny_models.Reference]:
    """Load a GGUF whose vocabulary has these tokens; give what transformers says, too."""
    words = vocabulary(small_tokenizers.byte_level, names).hf
    saved = tiny_models.make(folder / "hf", "llama", vocab_size=len(words))
    file = tiny_gguf.make(folder / "m.gguf", saved, words)
    spec = wire.ModelSpec(name="m", kind="llm", engine="llm_gguf", path=str(file))
    return Driver(LlmGguf(), spec), tiny_models.Reference(saved)


def test_a_gguf_fills_in_what_stands_between(tmp_path: Path) -> None:
    driver, reference = gguf(tmp_path, QWEN)
    words = vocabulary(small_tokenizers.byte_level, QWEN)
    behind = f"{BEHIND}<|fim_middle|>"  # of a user it is text
    prompt = wire.TextPrompt(text=BEFORE, suffix=behind)
    try:
        tokens = words.prompt_encoder().encode(prompt)
        expected = shown(words, reference.greedy(tokens, 8))
        rules = wire.Sampling(max_tokens=8, temperature=0.0, ignore_eos=True)
        answer = driver.ask(wire.Generate(prompt=prompt, sampling=rules))
        assert (text_of(answer), usage_of(answer).prompt_tokens) == (expected, len(tokens))
    finally:
        driver.engine.close()


def test_a_gguf_without_such_tokens_refuses_a_suffix(tmp_path: Path) -> None:
    driver, _reference = gguf(tmp_path, ())
    try:
        failure = driver.failure(wire.Generate(prompt=wire.TextPrompt(text=BEFORE, suffix=BEHIND)))
        assert (failure.code, failure.param) == ("unsupported_parameter", "suffix")
        assert isinstance(
            driver.ask(wire.Generate(prompt=wire.TextPrompt(text=BEFORE))).wait(), wire.Done
        )
    finally:
        driver.engine.close()
