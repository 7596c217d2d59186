"""config/hub.json: defaults, and messages that name the place of each mistake."""

import json
from pathlib import Path

import pytest
from django.conf import settings

from hub import config


def test_it_is_shipped_with_its_own_defaults() -> None:
    shipped = config.load(settings.BASE_DIR / "config" / "hub.json")
    assert shipped.model_config == config.ModelConfig()
    assert shipped.training_config == config.TrainingConfig()


def test_it_takes_the_documented_shapes() -> None:
    found = config.parse(
        json.dumps(
            {
                "model_config": {
                    "max_concurrent_models": 3,
                    "auto_unload_timeout": 3600,
                    "priority_models": ["a", "b"],
                    "never_together": [["a", "b"], ["a", "c"]],
                    "always_together": [["b", "c"]],
                    "prefetch": False,
                },
                "rate_limits": {
                    "requests_per_minute": 60,
                    "tokens_per_hour": 100000,
                    "concurrent_requests": 5,
                    "per_user_limits": {"ada": {"requests_per_minute": 5}},
                },
                "model_mapping": {"gpt-4": "mine"},
                "training_config": {"learning_rate": 0.001},
            }
        ).encode()
    )
    assert found.model_mapping == {"gpt-4": "mine"}
    assert isinstance(found.rate_limits.per_user_limits, dict)
    assert found.rate_limits.per_user_limits["ada"].requests_per_minute == 5


def test_it_needs_no_file(tmp_path: Path) -> None:
    assert config.load(tmp_path / "none.json") == config.HubConfig()


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('{"rate_limits": {"requests_per_minute": "many"}}', "rate_limits.requests_per_minute"),
        ('{"rate_limits": {"requests_per_minute": 0}}', "rate_limits.requests_per_minute"),
        ('{"rate_limits": {"per_user_limits": {"a": {"x": 1}}}}', "per_user_limits[...]"),
        ('{"model_config": {"max_models": 2}}', "max_models"),
        ('{"model_config": {"never_together": [["a"]]}}', "never_together[0]"),
        ('{"model_config": {"never_together": [["a", "a"]]}}', "names a model twice: a, a"),
        (
            '{"model_config": {"never_together": [["a", "b"]], "always_together": [["b", "a"]]}}',
            "never and always together: a, b",
        ),
        (
            '{"model_config": {"always_together": [["a", "b"], ["b", "c"]]}}',
            "`b` is in two groups",
        ),
        (
            '{"model_config": {"max_concurrent_models": 1, "always_together": [["a", "b"]]}}',
            "more models than max_concurrent_models (1): a, b",
        ),
        ('{"modelconfig": {}}', "modelconfig"),
        ('{"model_mapping": {"gpt-4": 1}}', "model_mapping[...]"),
        ('{"training_config": []}', "training_config"),
        ("[]", "JSON object"),
        ("{", "JSON object"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ],
)
def test_it_names_the_place(content: str, place: str) -> None:
    with pytest.raises(config.ConfigError) as error:
        config.parse(content.encode())
    assert place in str(error.value)


def test_it_names_every_bad_section_at_once() -> None:
    with pytest.raises(config.ConfigError) as error:
        config.parse(b'{"model_config": {"a": 1}, "rate_limits": {"b": 1}, "c": 1}')
    assert len(error.value.messages) == 3
