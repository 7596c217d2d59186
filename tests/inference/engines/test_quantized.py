"""Weights in 8 and 4 bits: less memory, answers that stay right, and nothing offered that does not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from inference import model_settings, wire
from inference.engines import build, llama_decoder, llama_server, llm_gguf, quantized
from inference.engines.hf_decoder import HfDecoder
from inference.engines.llama_decoder import LlamaDecoder
from inference.errors import LoadFailed
from inference.node import memory
from tests import models, servers

from . import tiny_models
from .driving import Driver
from .generating import ask_tokens, drive, logits_of, perplexity, some_tokens, text_of

ERRORS: dict[quantized.Mode, float] = {"int8": 0.01, "nf4": 0.12}
SHARES: dict[quantized.Mode, float] = {"int8": 0.51, "nf4": 0.27}
PERPLEXITIES: dict[quantized.Mode, float] = {"int8": 1.02, "nf4": 1.35}  # over the plain model's
TEXT_TOKENS = 512


@pytest.mark.parametrize("mode", ERRORS)
@pytest.mark.parametrize("rows", [1, 5, 16, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_projection_stays_close(mode: quantized.Mode, rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    weight, bias = (torch.randn(192, 128) * 0.05).to(dtype), torch.randn(192).to(dtype)
    hidden = torch.randn(rows, 128).to(dtype)
    run, kept = quantized.linear(weight, bias, mode)
    exact = F.linear(hidden.float(), weight.float(), bias.float())
    assert float((run(hidden).float() - exact).norm() / exact.norm()) < ERRORS[mode]
    assert run(hidden).dtype == dtype
    assert kept <= weight.numel() * 2 * (SHARES[mode] + 0.05)


def test_rows_of_zeros_and_large_weights_stay_finite() -> None:
    weight = torch.zeros(16, 64)
    weight[1], weight[2, 3] = 1e4, -3e4
    for mode in ERRORS:
        run, _ = quantized.linear(weight, None, mode)
        assert torch.isfinite(run(torch.ones(3, 64))).all()


@pytest.fixture(scope="module", params=["llama", "qwen2", "gemma2", "phi3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fast path without and with biases, and the general path; wide enough to tell noise apart."""
    wide: dict[str, Any] = {"hidden_size": 128, "initializer_range": 0.1}
    return tiny_models.make(tmp_path_factory.mktemp("tiny"), str(request.param), None, **wide)


@pytest.mark.parametrize("mode", ERRORS)
def test_every_path_computes_nearly_the_same(folder: Path, mode: quantized.Mode) -> None:
    tokens = some_tokens(40, seed=3)
    plain = drive(folder)
    packed = drive(folder, options={"quantization": mode})
    try:
        exact = logits_of(plain, tokens)
        found = logits_of(packed, tokens)
        likeness = torch.cosine_similarity(exact.flatten(), found.flatten(), dim=0)
        assert float(likeness) > (0.999 if mode == "int8" else 0.9)
        assert packed.loaded.weights_bytes < plain.loaded.weights_bytes
        assert text_of(packed.ask(ask_tokens(tokens, 8)))
    finally:
        plain.engine.close()
        packed.engine.close()


def test_it_offers_no_other_mode(folder: Path) -> None:
    with pytest.raises(LoadFailed, match="none, int8, nf4"):
        drive(folder, options={"quantization": "int4"})


@pytest.mark.parametrize("kind", ["gpt2", "mixtral"])
def test_it_offers_no_mode_that_would_save_little(tmp_path: Path, kind: str) -> None:
    folder = tiny_models.make(tmp_path, kind)
    with pytest.raises(LoadFailed, match="too few"):
        drive(folder, options={"quantization": "int8"})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"attention": "flash_attention_2"}, "CUDA only"),
        ({"torch_compile": True}, "CUDA only"),
        ({"attention": "fast"}, "auto, sdpa, eager"),
    ],
)
def test_it_refuses_a_build_that_gains_nothing_here(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    folder = tiny_models.make(tmp_path, "llama")
    with pytest.raises(LoadFailed, match=reason):
        drive(folder, options=options)


def test_attention_can_be_the_library_s_own(tmp_path: Path) -> None:
    folder = tiny_models.make(tmp_path, "llama")
    tokens = some_tokens(12, seed=3)
    answers = []
    for attention in ("auto", "eager"):
        driver = drive(folder, dtype="float32", options={"attention": attention})
        answers.append((type(driver.engine._decoder), text_of(driver.ask(ask_tokens(tokens, 8)))))  # type: ignore[attr-defined]
        driver.engine.close()
    assert [kind for kind, _text in answers] == [LlamaDecoder, HfDecoder]
    assert answers[0][1] == answers[1][1]


def test_the_node_claims_what_the_engines_keep() -> None:
    assert memory.PACKED_WHILE_READ == llama_decoder.FAMILY
    assert {"f16": 1.0, **memory.KV_SHARES} == llm_gguf.KV_SHARES
    assert {"none", *memory.QUANTIZED_SHARES} == set(quantized.MODES)


def test_what_may_be_set_is_what_the_engines_offer() -> None:
    transformers, gguf = (model_settings.OPTIONS[e] for e in ("llm_transformers", "llm_gguf"))
    assert choices(transformers, "quantization") == set(quantized.MODES)
    assert choices(transformers, "attention") == set(build.ATTENTIONS)
    assert choices(gguf, "kv_type") == set(llm_gguf.KV_SHARES) == set(llama_server.KV_TYPES)


def choices(options: type, name: str) -> set[str]:
    literal, _none = get_args(get_type_hints(options)[name])
    return set(get_args(literal))


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8"])
def test_it_refuses_weights_packed_in_a_way_it_does_not_compute(
    tmp_path: Path, method: str
) -> None:
    folder = tiny_models.make(tmp_path, "llama")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(LoadFailed, match=method):
        drive(folder)


# --- the real model ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain() -> Iterator[Driver]:
    driver = real("none")
    yield driver
    driver.engine.close()


def real(mode: quantized.Mode) -> Driver:
    return drive(models.smollm2_folder(), dtype="auto", options={"quantization": mode})


@pytest.mark.models
@pytest.mark.parametrize("mode", ERRORS)
def test_the_real_model_stays_right(plain: Driver, mode: quantized.Mode) -> None:
    driver = real(mode)
    try:
        text = (servers.ROOT / "README.md").read_text(encoding="utf-8")
        exact, found = (perplexity(one, text, TEXT_TOKENS) for one in (plain, driver))
        assert found < exact * PERPLEXITIES[mode]
        question = wire.ChatMessage("user", "What is the capital of France?")
        rules = wire.Sampling(max_tokens=16, temperature=0)
        body = wire.Generate(prompt=wire.ChatPrompt(messages=[question]), sampling=rules)
        assert "Paris" in text_of(driver.ask(body))
    finally:
        driver.engine.close()
