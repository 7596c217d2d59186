"""Whoever changes config/hub.json tells nobody: the next start does."""

import pytest

from accounts import seen_config
from accounts.models import AuditRow
from hub import config

pytestmark = pytest.mark.django_db
USUAL = config.flat(config.HubConfig())


def note(content: bytes) -> bool:
    return seen_config.note(config.flat(config.parse(content)), USUAL)


def test_another_file_is_told_once_with_what_changed() -> None:
    before = AuditRow.objects.filter(action="config.change").count()
    assert not note(b"{}")
    limits = b'"rate_limits": {"tokens_per_hour": 500, "per_user_limits": false}'
    assert note(b"{" + limits + b"}")
    assert not note(b"{" + limits + b"}")  # the second web process
    assert note(b"{" + limits + b', "model_mapping": {"gpt-4": "chat"}}')
    first, second = AuditRow.objects.filter(action="config.change").order_by("seq")[before:]
    assert first.before_values == {
        "rate_limits.tokens_per_hour": 100_000_000,
        "rate_limits.per_user_limits": True,
    }
    assert first.after_values is not None
    assert first.after_values["rate_limits.tokens_per_hour"] == 500
    assert second.before_values == {"model_mapping": {}}
    assert second.after_values == {"model_mapping": {"gpt-4": "chat"}}
    assert {first.actor_kind, second.actor_kind} == {"system"}
