"""What the management API says of models, and what it takes."""

from typing import Any

from rest_framework import serializers

from accounts.strict import Strict
from inference.router import DEADLINE_S

LIVE_STATES = ["cold", "loading", "ready", "draining", "failed", "unknown"]


class Live(serializers.Serializer[Any]):
    """A model in the node now."""

    state = serializers.ChoiceField(choices=LIVE_STATES, help_text="unknown: the node is away")
    reason = serializers.CharField(help_text="Why it failed, or what it waits for.")
    device = serializers.CharField()
    memory_bytes = serializers.IntegerField()
    running = serializers.IntegerField(help_text="Requests being answered.")
    waiting = serializers.IntegerField(help_text="Requests in the queue.")
    progress = serializers.FloatField(help_text="0 to 1 while loading.")
    tokens_per_s = serializers.FloatField()
    unload_in_s = serializers.FloatField(allow_null=True)


class ModelView(serializers.Serializer[Any]):
    name = serializers.CharField()
    kind = serializers.CharField()
    engine = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment] # a field, not Field.source
    state = serializers.CharField(help_text="Of the files: preparing, available, failed.")
    state_reason = serializers.CharField()
    licence = serializers.CharField()
    parameters = serializers.IntegerField(allow_null=True)
    quantization = serializers.CharField()
    size_bytes = serializers.IntegerField()
    context_tokens = serializers.IntegerField()
    aliases = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    live = Live()


class LoadRequest(Strict):
    deadline_s = serializers.FloatField(
        min_value=1, max_value=3600, default=DEADLINE_S, help_text="How long to wait."
    )


class UnloadRequest(Strict):
    force = serializers.BooleanField(
        default=False, help_text="Do not wait for the requests that are being answered."
    )


class Loaded(serializers.Serializer[Any]):
    model = serializers.CharField()
    state = serializers.ChoiceField(choices=["ready"])
    memory_bytes = serializers.IntegerField(help_text="Measured.")
    device = serializers.CharField()
    dtype = serializers.CharField()
    context_tokens = serializers.IntegerField()
    load_s = serializers.FloatField()


class Unloaded(serializers.Serializer[Any]):
    model = serializers.CharField()
    state = serializers.ChoiceField(choices=["cold"])
