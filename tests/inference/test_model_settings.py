"""What an operator may set for one model."""

from typing import Any

import pytest

from inference import model_settings
from inference.errors import HubError, InvalidValue, UnknownParameter


def set_option(engine: str, **options: Any) -> dict[str, Any]:
    return model_settings.changed({}, {"options": options}, engine)


def test_a_patch_is_laid_over_and_null_forgets() -> None:
    once = set_option("llm_transformers", quantization="int8", attention="sdpa")
    twice = model_settings.changed(once, {"options": {"attention": None}}, "llm_transformers")
    assert twice == {"options": {"quantization": "int8"}}


@pytest.mark.parametrize(
    ("engine", "options", "named"),
    [
        ("llm_transformers", {"quantization": "int4"}, "none, int8, nf4"),
        ("llm_transformers", {"attention": "fast"}, "auto, sdpa, eager, flash_attention_2"),
        ("llm_transformers", {"torch_compile": "yes"}, "bool"),
        ("llm_gguf", {"kv_type": "q4_0"}, "f16, q8_0"),
        ("llm_gguf", {"kv_tokens": 1}, "256"),
    ],
)
def test_a_wrong_value_names_the_field_and_the_choices(
    engine: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidValue, match=named) as told:
        set_option(engine, **options)
    assert told.value.param == f"options.{next(iter(options))}"


def test_a_queue_holds_one_at_least() -> None:
    assert model_settings.changed({}, {"max_queue": 1}, "llm_gguf") == {"max_queue": 1}
    with pytest.raises(InvalidValue, match="max_queue: Expected `int` >= 1") as told:
        model_settings.changed({}, {"max_queue": 0}, "llm_gguf")
    assert told.value.param == "max_queue"


@pytest.mark.parametrize(
    ("engine", "option"),
    [
        ("llm_gguf", "quantization"),
        ("vlm_transformers", "quantization"),
        ("asr_whisper", "kv_type"),
        ("llm_vllm", "kv_cache_dtype"),  # nothing shows that answers stay right in fp8
    ],
)
def test_an_option_of_another_engine_is_refused(engine: str, option: str) -> None:
    with pytest.raises(UnknownParameter, match=option):
        set_option(engine, **{option: "int8"})


def test_a_field_of_a_kind_names_no_choices_of_ranges() -> None:
    with pytest.raises(HubError) as told:
        model_settings.changed({}, {"priority": "high"}, "llm_gguf")
    assert "choose" not in told.value.message
    with pytest.raises(InvalidValue, match="auto, float32"):
        model_settings.changed({}, {"dtype": "int8"}, "llm_gguf")
