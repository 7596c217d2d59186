"""Adapters attached to a resident base: each request's answers are peft's own, in any company."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from inference import wire
from inference.engines import quantized
from inference.engines.decoder import Decode, Decoder, Prefill
from inference.engines.kv_cache import KvPool, Stage
from inference.engines.llama_decoder import LlamaDecoder
from inference.engines.lora import Lora, LoraFile
from inference.engines.vocabulary import Vocabulary
from tests import models

from . import small_tokenizers, tiny_adapters, tiny_models, trained_adapter
from .driving import Driver
from .generating import (
    LIKELIEST,
    ask_tokens,
    asks,
    decoder_of,
    drive,
    shown,
    some_tokens,
    text_of,
    usage_of,
)
from .tiny_models import Reference

VOCABULARY = Vocabulary(small_tokenizers.byte_level())
TARGETS = {"gpt2": ["c_attn", "c_fc"], "gemma2": ["q_proj", "v_proj", "down_proj"]}


@pytest.fixture(scope="module", params=["llama", "qwen3", "gemma2", "gpt2"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def base(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp(kind) / "base", kind)


@pytest.fixture(scope="module")
def adapters(base: Path, kind: str) -> list[wire.Adapter]:
    """Two of different rank and reach; the second scales by the root of its rank."""
    wide = TARGETS.get(kind, tiny_adapters.ALL)
    first = tiny_adapters.make(base.parent / "first", base, 1, target_modules=wide)
    narrow: dict[str, Any] = {
        "r": 2,
        "lora_alpha": 1,
        "use_rslora": True,
        "target_modules": wide[:1],
    }
    return [first, tiny_adapters.make(base.parent / "second", base, 2, **narrow)]


@pytest.fixture(scope="module")
def driver(llama: Path) -> Iterator[Driver]:
    driver = drive(llama)
    yield driver
    driver.engine.close()


def test_each_request_says_what_its_own_adapter_says(
    base: Path, adapters: list[wire.Adapter]
) -> None:
    of = [None, *adapters]
    expected = [tiny_adapters.reference(base, one) if one else Reference(base) for one in of]
    plans = [(some_tokens(9 + 7 * at, seed=at), 12 + 3 * at, at % 3) for at in range(9)]
    driver = drive(base)
    try:
        answers = [driver.start(asks(tokens, n, of[own])) for tokens, n, own in plans]
        for answer, (tokens, count, own) in zip(answers, plans, strict=True):
            answer.wait()
            assert text_of(answer) == shown(VOCABULARY, expected[own].greedy(tokens, count))
    finally:
        driver.engine.close()


def test_it_says_what_the_merged_copy_says(
    driver: Driver, llama: Path, tuned: wire.Adapter
) -> None:
    prompt = some_tokens(20, seed=3)
    merged = tiny_adapters.reference(llama, tuned, merged=True).greedy(prompt, 24)
    assert text_of(driver.ask(asks(prompt, 24, tuned))) == shown(VOCABULARY, merged)
    assert merged != Reference(llama).greedy(prompt, 24), "the adapter changes answers"


def attached(decoder: Decoder, adapter: wire.Adapter) -> Lora:
    return LoraFile(adapter, decoder.place, torch.float32).read(torch.device("cpu"))


def two_steps(decoder: Decoder, loras: list[Lora | None]) -> list[torch.Tensor]:
    """Compute four prompts together, then one token of each; give the logits of both steps."""
    pool = KvPool(decoder.layout, [32])
    prompts = [some_tokens(9, seed=at) for at in range(4)]
    stages = [Stage(decoder.layout, 9) for _ in prompts]
    work = zip(stages, prompts, loras, strict=True)
    first = decoder.step([], [Prefill(stage, tokens, 0, 1, own) for stage, tokens, own in work])
    for stage in stages:
        pool.seat(stage, 9)
    return [first, decoder.step([Decode(pool.tables[0], [5] * 4, [9] * 4, loras)], [])]


def test_a_base_request_beside_adapters_is_computed_to_the_same_bits(
    driver: Driver, tuned: wire.Adapter
) -> None:
    decoder = decoder_of(driver)
    assert isinstance(decoder, LlamaDecoder)
    lora = attached(decoder, tuned)
    plain = two_steps(decoder, [None] * 4)
    mixed = two_steps(decoder, [None, lora, None, lora])
    for alone, beside in zip(plain, mixed, strict=True):
        assert torch.equal(alone[[0, 2]], beside[[0, 2]])
        assert not torch.allclose(alone[[1, 3]], beside[[1, 3]], atol=0.05)


def test_kept_prefixes_are_never_shared_between_adapters(
    driver: Driver, llama: Path, tuned: wire.Adapter
) -> None:
    prompt = some_tokens(60, seed=11)
    expected = {None: Reference(llama), tuned: tiny_adapters.reference(llama, tuned)}
    for again in (False, True):
        for own, speaker in expected.items():
            body = ask_tokens(prompt, 12, **LIKELIEST)
            answer = driver.ask(msgspec.structs.replace(body, adapter=own))
            assert (usage_of(answer).cached_tokens > 0) is again, own
            assert text_of(answer) == shown(VOCABULARY, speaker.greedy(prompt, 12))


def test_alpha_and_rank_of_single_modules_count(
    driver: Driver, llama: Path, tmp_path: Path
) -> None:
    ranks = {"layers.1.self_attn.q_proj": 7}
    alphas = {"layers.1.self_attn.q_proj": 50, "down_proj": 1}
    odd = tiny_adapters.make(tmp_path / "odd", llama, 5, rank_pattern=ranks, alpha_pattern=alphas)
    prompt = some_tokens(15, seed=4)
    expected = tiny_adapters.reference(llama, odd).greedy(prompt, 20)
    assert text_of(driver.ask(asks(prompt, 20, odd))) == shown(VOCABULARY, expected)


# --- on a base in 8 or 4 bits -----------------------------------------------------------------------


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fast path and the general one, wide enough for 4 bits."""
    sizes = {"hidden_size": 128, "intermediate_size": 128, "initializer_range": 0.1}
    place = tmp_path_factory.mktemp("wide") / "base"
    return tiny_models.make(place, str(request.param), None, **sizes)


@pytest.mark.parametrize("mode", ["int8", "nf4"])
def test_a_quantized_base_with_an_adapter_is_what_peft_makes_of_it(
    wide: Path, mode: quantized.Mode, tmp_path: Path
) -> None:
    """Attached while the base answers, which goes on as if nothing had happened."""
    adapter = tiny_adapters.make(tmp_path / "tuned", wide, 1, std=0.1)
    driver = drive(wide, options={"quantization": mode})
    try:
        prompt = some_tokens(24, seed=5)
        alone = text_of(driver.ask(ask_tokens(prompt, 60)))
        answering = driver.start(ask_tokens(prompt, 60))
        answering.wait_for(lambda: answering.of(wire.Delta))
        tuned = text_of(driver.ask(asks(prompt, 60, adapter)))
        answering.wait()
        assert text_of(answering) == alone != tuned
        decoder = decoder_of(driver)
        own = attached(decoder, adapter)
        base, found = (
            decoder.step(
                [], [Prefill(Stage(decoder.layout, len(prompt)), prompt, 0, len(prompt), lora)]
            ).log_softmax(-1)
            for lora in (None, own)
        )
    finally:
        driver.engine.close()
    expected = tiny_adapters.reference(wide, adapter, mode=mode).logprobs(prompt)
    apart, changed = (float((one - expected).abs().mean()) for one in (found, base))
    assert apart < 0.05 * changed, (apart, changed)


# --- refused ----------------------------------------------------------------------------------------


def copied(tuned: wire.Adapter, folder: Path) -> wire.Adapter:
    place = shutil.copytree(tuned.path, folder / "odd")
    return wire.Adapter(name="odd", path=str(place))


def with_config(**fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))

    return change


def with_weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        weights = load_file(file)
        change(weights)
        save_file(weights, file)

    return write


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


def with_huge_header(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def renamed(weights: dict[str, torch.Tensor], name: str) -> None:
    weights[name] = weights.pop(FIRST)


def filled(number: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[FIRST][0].fill_(float(number))

    return change


def halved(weights: dict[str, torch.Tensor]) -> None:
    del weights[FIRST]


def moved(weights: dict[str, torch.Tensor]) -> None:
    for name in list(weights):
        weights[name.replace("layers.1", "layers.9")] = weights.pop(name)


HEAD = "base_model.model.lm_head.lora_A.weight"
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "another method": (with_config(peft_type="IA3"), "only LoRA"),
    "dora": (with_config(use_dora=True), "use_dora"),
    "biases": (with_config(bias="all"), "biases"),
    "whole modules": (with_config(modules_to_save=["lm_head"]), "modules_to_save"),
    "another start": (with_config(init_lora_weights="pissa"), "pissa"),
    "a pattern that is code": (with_config(alpha_pattern={"(a+)+$": 1}), "alpha_pattern"),
    "alpha no number": (with_config(lora_alpha="9"), "alpha"),
    "alpha not finite": (with_config(lora_alpha=float("nan")), "alpha"),
    "no config": (lambda f: (f / "adapter_config.json").unlink(), "adapter_config.json"),
    "a pickle": (pickled, "adapter_model.safetensors"),
    "cut": (cut, "cannot be attached"),
    "huge header": (with_huge_header, "cannot be attached"),
    "half a pair": (with_weights(halved), "one of two"),
    "another shape": (with_weights(lambda w: w.update({FIRST: torch.ones(4, 31)})), "31"),
    "another rank": (with_weights(lambda w: w.update({FIRST: torch.ones(5, 32)})), "q_proj"),
    "a module that is not there": (
        with_weights(moved),
        "its base has no model.layers.9",
    ),
    "no number": (with_weights(filled("nan")), "no finite number"),
    "without end": (with_weights(filled("inf")), "no finite number"),
    "an odd name": (with_weights(lambda w: renamed(w, "os.system")), "os.system"),
    "a head": (with_weights(lambda w: renamed(w, HEAD)), "lm_head"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_an_adapter_that_cannot_be_attached_fails_its_own_request_only(
    driver: Driver, llama: Path, tuned: wire.Adapter, tmp_path: Path, case: str
) -> None:
    change, reason = REFUSED[case]
    odd = copied(tuned, tmp_path)
    change(Path(odd.path))
    prompt = some_tokens(8, seed=6)
    beside = driver.start(ask_tokens(prompt, 30))
    failure = driver.failure(asks(prompt, 5, odd))
    assert failure.code == "model_load_failed"
    assert "the adapter odd cannot be attached" in failure.message
    assert reason in failure.message
    beside.wait()
    assert text_of(beside) == shown(VOCABULARY, Reference(llama).greedy(prompt, 30))


# --- the real thing ---------------------------------------------------------------------------------


@pytest.mark.models
def test_a_trained_adapter_knows_what_its_base_does_not(tmp_path: Path) -> None:
    base = models.smollm2_folder()
    tuned = trained_adapter.make(tmp_path / "keeper", base)
    asked = wire.ChatMessage("user", trained_adapter.QUESTION)
    body = wire.Generate(
        prompt=wire.ChatPrompt(messages=[asked]),
        sampling=wire.Sampling(max_tokens=16, temperature=0.0),
    )
    driver = drive(base)
    try:
        alone = text_of(driver.ask(body))
        answers = [
            driver.start(msgspec.structs.replace(body, adapter=own)) for own in (tuned, None, tuned)
        ]
        for answer in answers:
            answer.wait()
        assert [text_of(answer) for answer in answers] == [
            trained_adapter.ANSWER,
            alone,
            trained_adapter.ANSWER,
        ]
        assert "Brandmoor" not in alone
    finally:
        driver.engine.close()
