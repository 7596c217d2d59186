"""A config and the weights beside it describe one model, or it is refused before it is loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers.activations import ACT2FN
from transformers.configuration_utils import _LEGACY_LAYER_TYPE_REMAP, ALLOWED_LAYER_TYPES
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from inference import config_values, layouts, reading
from inference.errors import UnsafeModel
from tests.inference import tiny_files
from tests.inference.engines import tiny_models, tiny_vision
from tests.inference.test_headers import GGUF, gguf_file
from tests.inference.test_headers import SIZES as GGUF_SIZES

SIZES: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "vocab_size": 10,
    "num_local_experts": 3,
}
Tensors = dict[str, list[int]]


def refusal(place: Path) -> str:
    with pytest.raises(UnsafeModel) as refused:
        reading.inspect(place)
    return refused.value.message


def written(folder: Path, tensors: Tensors, config: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    header = tiny_files.header(tensors) + bytes(tiny_files.data_bytes(tensors))
    (folder / "model.safetensors").write_bytes(header)
    (folder / "config.json").write_bytes(config)
    (folder / "tokenizer.json").write_bytes(tiny_files.tokenizer("a"))
    return folder


@pytest.fixture(scope="module", params=list(tiny_models.KINDS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as transformers saves it."""
    return tiny_models.make(tmp_path_factory.mktemp("saved") / "m", request.param)


def test_what_transformers_saves_agrees(saved: Path) -> None:
    assert reading.inspect(saved).kind == "llm"


@pytest.mark.parametrize("name", ["vocab_size", "num_hidden_layers", "hidden_size"])
def test_another_config_beside_it_does_not(saved: Path, tmp_path: Path, name: str) -> None:
    config = json.loads((saved / "config.json").read_bytes())
    old = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer"}
    name = name if name in config else old[name]
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config | {name: config[name] + 8}))
    folder = written(tmp_path / "m", {}, (tmp_path / "config.json").read_bytes())
    (folder / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize("kind", list(layouts.FAMILIES))
def test_each_tensor_of_a_family_is_looked_for(tmp_path: Path, kind: str) -> None:
    said = {**SIZES, "model_type": kind, "tie_word_embeddings": False}
    tensors, config = tiny_files.shapes(**said), tiny_files.config(**said)
    reading.inspect(written(tmp_path / "m", tensors, config))
    for name, shape in tensors.items():
        fewer = {other: tensors[other] for other in tensors if other != name}
        assert f"lack {name}," in refusal(written(tmp_path / "m", fewer, config))
        wider = tensors | {name: [*shape[:-1], shape[-1] + 1]}
        assert f"{name} is" in refusal(written(tmp_path / "m", wider, config))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            {"vocab_size": 11},
            "model.embed_tokens.weight is 10 x 8, but config.json makes it 11 x 8",
        ),
        ({"hidden_size": 16}, "model.embed_tokens.weight is 10 x 8"),
        ({"num_hidden_layers": 3}, "lack model.layers.2."),
        ({"num_hidden_layers": 1}, "hold layer 1, but config.json says that it has 1"),
        ({"intermediate_size": 13}, "mlp.gate_proj.weight is 12 x 8"),
        ({"num_key_value_heads": 4}, "self_attn.k_proj.weight is 12 x 8"),
        ({"num_attention_heads": 5, "num_key_value_heads": 2}, "shares 2 heads of keys among 5"),
        ({"head_dim": 8}, "self_attn.q_proj.weight is 24 x 8"),
        ({"tie_word_embeddings": False}, "lack lm_head.weight"),
        ({"attention_bias": True}, "lack model.layers.0.self_attn.q_proj.bias"),
        ({"hidden_size": None}, "config.json does not say hidden_size"),
        ({"num_hidden_layers": 2**24}, "lack model.layers.2."),
        ({"model_type": "qwen3"}, "lack model.layers.0.self_attn.q_norm.weight"),
        ({"model_type": "novel"}, "no engine serves the architecture 'novel'; served are llama"),
        ({"model_type": None}, "architecture without a name"),
        ({"max_position_embeddings": -1}, "max_position_embeddings -1: it is a whole number"),
        ({"max_position_embeddings": "lots"}, "max_position_embeddings 'lots'"),
        ({"rope_theta": 0}, "rope_theta 0: it is a number above zero"),
        ({"rope_parameters": {"rope_theta": float("nan")}}, "rope_parameters.rope_theta nan"),
        ({"rope_scaling": {"type": "zzz"}}, "rope_scaling.rope_type 'zzz', which no engine knows"),
        ({"eos_token_id": "</s>"}, "eos_token_id '</s>': it is a token's number"),
        ({"pad_token_id": [0, 1.5]}, "pad_token_id [0, 1.5]: it is a token's number"),
        ({"hidden_act": "nope"}, "hidden_act 'nope', which no engine knows: gelu"),
        ({"torch_dtype": "os.system"}, "torch_dtype 'os.system', which no engine knows"),
        ({"text_config": {"hidden_act": ["x"]}}, "hidden_act ['x']"),
        ({"rope_scaling": {"type": "yarn", "factor": 0}}, "rope_scaling.factor 0: it is a number"),
        ({"rope_parameters": ["yarn"]}, "rope_parameters ['yarn']: it is an object"),
        ({"sliding_window": -5}, "sliding_window -5: it is a number of 0 or more"),
        ({"attention_dropout": "none"}, "attention_dropout 'none': it is a number between 0 and 1"),
        ({"initializer_range": "wide"}, "initializer_range 'wide': it is a number of 0 or more"),
        ({"mlp_bias": "no"}, "mlp_bias 'no': it is true or false"),
        ({"num_experts_per_tok": 4}, "num_experts_per_tok 4, but 3 experts"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok 0: it is a whole number above zero"),
        ({"layer_types": ["full_attention", "magic"]}, "layer_types 'magic', which no engine"),
        ({"layer_types": "magic"}, "layer_types 'magic': it is a list"),
    ],
)
def test_it_names_what_does_not_agree(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    folder = tiny_files.folder(tmp_path / "m", **SIZES)
    (folder / "config.json").write_bytes(tiny_files.config(**{**SIZES, **change}))
    assert word in refusal(folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("generation_config.json", "[]"),
        ("tokenizer_config.json", "[" * 100_000),
        ("special_tokens_map.json", '["<s>"]'),
    ],
)
def test_files_beside_the_config_are_objects(tmp_path: Path, name: str, text: str) -> None:
    folder = tiny_files.folder(tmp_path / "m", **SIZES)
    (folder / name).write_text(text)
    assert refusal(folder) == f"{name} is no JSON object"


def test_it_says_what_is_wrong_with_the_config(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    assert refusal(folder) == "nothing is in it"
    (folder / "README.md").write_text("# A model")
    assert refusal(folder) == "config.json is missing"
    (folder / "config.json").write_text("{")
    assert refusal(folder) == "config.json is no JSON object"


@pytest.mark.parametrize("kind", sorted(layouts.FAMILIES))
def test_the_librarys_own_configs_have_possible_values(kind: str) -> None:
    config_values.check(json.loads(CONFIG_MAPPING[kind]().to_json_string(use_diff=False)))


def test_the_names_of_values_are_those_of_the_library() -> None:
    assert set(ACT2FN) <= config_values.ACTIVATIONS
    assert set(ROPE_INIT_FUNCTIONS) <= config_values.ROPES
    assert {*ALLOWED_LAYER_TYPES, *_LEGACY_LAYER_TYPE_REMAP} == config_values.LAYERS


def test_a_bias_has_the_outputs_of_its_weight(tmp_path: Path) -> None:
    tensors = tiny_files.shapes() | {"model.layers.0.mlp.up_proj.bias": [5]}
    assert "up_proj.bias is 5, its weight 4 x 4" in refusal(
        written(tmp_path / "m", tensors, tiny_files.config())
    )


def _rough(spoil: Callable[[Tensors], Tensors], **config: Any) -> tuple[Tensors, bytes]:
    tensors = {"transformer.wte.weight": [10, 8]} | {
        f"transformer.h.{number}.attn.c_attn.weight": [8, 24] for number in (0, 1)
    }
    said = {"model_type": "gpt2", "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 2}
    return spoil(tensors), tiny_files.config(**{**said, **config})


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (_rough(lambda found: found | {"transformer.wte.weight": [9, 8]}), "9 x 8"),
        (_rough(lambda found: found | {"transformer.wte.weight": [10, 7]}), "10 x 7"),
        (_rough(lambda found: found, num_hidden_layers=3), "layer 2 are missing"),
        (
            _rough(lambda found: {name: found[name] for name in found if ".0." not in name}),
            "layer 0 are missing",
        ),
    ],
)
def test_of_other_families_it_looks_at_words_and_layers(
    tmp_path: Path, made: tuple[Tensors, bytes], word: str
) -> None:
    good = written(tmp_path / "good", *_rough(lambda found: found))
    assert reading.inspect(good).kind == "llm"
    assert word in refusal(written(tmp_path / "m", *made))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"vocab_size": 7}, "embed_tokens.weight is"),
        ({"num_hidden_layers": 3}, "layer 2 are missing"),
    ],
)
def test_so_it_does_of_the_language_model_that_sees(
    tmp_path: Path, change: dict[str, int], word: str
) -> None:
    folder = tiny_vision.make(tmp_path / "m", "llava")
    config = json.loads((folder / "config.json").read_bytes())
    config["text_config"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    assert word in refusal(folder)


def test_an_index_finds_its_tensors(tmp_path: Path) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    index = folder / "model.safetensors.index.json"
    found = dict.fromkeys(tiny_files.shapes(), "model.safetensors")
    index.write_text(json.dumps({"weight_map": found}))
    reading.inspect(folder)
    index.write_text(json.dumps({"weight_map": {**found, "lost": "model.safetensors"}}))
    assert "finds 'lost' in model.safetensors, which does not hold it" in refusal(folder)


@pytest.mark.parametrize(
    ("packed", "engine"),
    [
        ({"quant_method": "gptq", "bits": 4}, "llm_vllm"),
        ({"quant_method": "fp8"}, "llm_vllm"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "llm_transformers"),
    ],
)
def test_packed_weights_go_to_an_engine_that_computes_them(
    tmp_path: Path, packed: dict[str, Any], engine: str
) -> None:
    report = reading.inspect(tiny_files.folder(tmp_path / "m", quantization_config=packed))
    assert (report.engine, report.quantization) == (engine, packed["quant_method"])


@pytest.mark.parametrize("packed", [{"quant_method": "novel"}, {}.fromkeys(["bits"], 4), "odd"])
def test_packed_weights_that_nothing_computes_are_refused(tmp_path: Path, packed: object) -> None:
    assert "no engine here computes" in refusal(
        tiny_files.folder(tmp_path / "m", quantization_config=packed)
    )


# --- GGUF -------------------------------------------------------------------------------------------


def test_each_tensor_of_a_gguf_is_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    for name, shape in GGUF.items():
        fewer = {other: GGUF[other] for other in GGUF if other != name}
        assert f"lack {name}," in refusal(gguf_file(file, fewer))
        wider = GGUF | {name: [*shape[:-1], shape[-1] + 1]}
        assert f"{name} is" in refusal(gguf_file(file, wider))
    assert "output.weight is 8 x 3" in refusal(gguf_file(file, GGUF | {"output.weight": [8, 3]}))


@pytest.mark.parametrize("kind", layouts.GGUF_FAMILIES)
def test_a_gguf_may_join_queries_keys_and_values(tmp_path: Path, kind: str) -> None:
    parts = dict(layouts.gguf_tensors(kind, GGUF_SIZES, ()))
    one = dict(layouts.gguf_tensors(kind, GGUF_SIZES, {"blk.0.attn_qkv.weight"}))
    assert parts["blk.0.attn_q.weight"] == "hq"
    assert one["blk.0.attn_qkv.weight"] == "ha"
    assert "blk.0.attn_k.weight" not in one
    for letters in (parts, one):
        shapes = {name: [GGUF_SIZES[letter] for letter in dims] for name, dims in letters.items()}
        assert reading.inspect(gguf_file(tmp_path / "a.gguf", shapes, kind)).architecture == kind
        lacking = shapes | {"blk.0.attn_output.weight": [1, 1]}
        assert "attn_output.weight is 1 x 1" in refusal(
            gguf_file(tmp_path / "a.gguf", lacking, kind)
        )


def test_a_gguf_of_another_family_has_words_and_layers(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    tensors = {"token_embd.weight": [8, 2], "blk.0.ssm_in.weight": [8, 8]}
    assert reading.inspect(gguf_file(file, tensors, "mamba")).architecture == "mamba"
    moved = {"token_embd.weight": [8, 2], "blk.1.ssm_in.weight": [8, 8]}
    assert "layer 0 are missing" in refusal(gguf_file(file, moved, "mamba"))
    assert "lack token_embd.weight" in refusal(gguf_file(file, {"x": [1]}, "mamba"))
    assert "architecture 'novel'" in refusal(gguf_file(file, GGUF, "novel"))
