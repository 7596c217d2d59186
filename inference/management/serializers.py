"""What the management API says of models, and what it takes."""

from typing import Any

from rest_framework import serializers

from accounts.models import Visibility
from accounts.strict import Strict, StrictQuery
from inference import entries, fit, hub_search
from inference.models import Model
from inference.router import DEADLINE_S

LIVE_STATES = ["cold", "loading", "ready", "draining", "asleep", "failed", "unknown"]
FILES_STATES = Model.State.values
AFTER_LOAD, AFTER_UNLOAD = ["ready"], ["cold"]


class Live(serializers.Serializer[Any]):
    """A model in the node now."""

    state = serializers.ChoiceField(choices=LIVE_STATES, help_text="unknown: the node is away")
    reason = serializers.CharField(help_text="Why it failed, or what it waits for.")
    breaker = serializers.ChoiceField(
        choices=["closed", "open", "half_open"],
        help_text="open: refused, its engine ended too often; half_open: one request may try it",
    )
    device = serializers.CharField()
    memory_bytes = serializers.IntegerField()
    running = serializers.IntegerField(help_text="Requests being answered.")
    waiting = serializers.IntegerField(help_text="Requests in the queue.")
    progress = serializers.FloatField(help_text="0 to 1 while loading.")
    tokens_per_s = serializers.FloatField()
    unload_in_s = serializers.FloatField(allow_null=True)
    context_tokens = serializers.IntegerField(
        help_text="That one request may have; 0 while it is not loaded."
    )
    capabilities = serializers.ListField(
        child=serializers.CharField(),
        help_text="What its engine answers with these files, once loaded; all else is a 400.",
    )


class Progress(serializers.Serializer[Any]):
    """Of the files of a model that is being added."""

    done_bytes = serializers.IntegerField()
    total_bytes = serializers.IntegerField(help_text="0 until it is known.")
    bytes_per_s = serializers.FloatField()
    eta_s = serializers.FloatField(allow_null=True)


class ModelView(serializers.Serializer[Any]):
    name = serializers.CharField()
    kind = serializers.CharField(help_text="Empty until the files were inspected.")
    engine = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment] # a field, not Field.source
    origin = serializers.CharField(help_text="The id on the model hub, a path or an address.")
    revision = serializers.CharField(help_text="The commit, once it is pinned.")
    base = serializers.CharField(allow_null=True, help_text="The model that an adapter is for.")
    variant_of = serializers.CharField(allow_null=True)
    tags = serializers.ListField(child=serializers.CharField())
    state = serializers.ChoiceField(choices=FILES_STATES, help_text="Of the files.")
    state_reason = serializers.CharField()
    progress = Progress(allow_null=True)
    report = serializers.DictField(
        help_text="What the inspection found; the sums of its files only where it is shown alone."
    )
    licence = serializers.CharField()
    parameters = serializers.IntegerField(allow_null=True)
    quantization = serializers.CharField()
    size_bytes = serializers.IntegerField()
    sha256 = serializers.CharField(help_text="Over the sums of all its files (`report.files`).")
    checked_at = serializers.DateTimeField(
        allow_null=True, help_text="When its files were last compared with their sums."
    )
    damage = serializers.ListField(
        child=serializers.CharField(), help_text="What was wrong with them then."
    )
    context_tokens = serializers.IntegerField()
    settings = serializers.DictField(help_text="What an operator set; all else is the default.")
    aliases = serializers.ListField(child=serializers.CharField())
    team = serializers.CharField(help_text="Who owns it.")
    visibility = serializers.CharField(help_text="hub: everybody sees it; team: its members.")
    created_at = serializers.DateTimeField()
    live = Live()


class Smaller(serializers.Serializer[Any]):
    """What it would be with smaller weights (option `quantization`)."""

    quantization = serializers.CharField()
    verdict = serializers.ChoiceField(choices=list(fit.VERDICTS))
    needed_bytes = serializers.IntegerField()
    device = serializers.CharField()


class Fit(serializers.Serializer[Any]):
    """What the node's formula says of a model that is not loaded."""

    verdict = serializers.ChoiceField(choices=list(fit.VERDICTS))
    reason = serializers.CharField()
    would_have_to_go = serializers.ListField(
        child=serializers.CharField(), help_text="Models and trainings, by name."
    )
    device = serializers.CharField()
    needed_bytes = serializers.IntegerField()
    free_bytes = serializers.IntegerField()
    limit_bytes = serializers.IntegerField()
    context_tokens = serializers.IntegerField(
        help_text="That one request may have with this memory; 0: not known. More: `context_tokens`."
    )
    smaller = Smaller(many=True, help_text="Where it does not fit: what 8 or 4 bits would be.")


class OneModelView(ModelView):
    fit = Fit(allow_null=True)


class Filter(StrictQuery):
    kind = serializers.CharField(required=False, max_length=16)
    engine = serializers.CharField(required=False, max_length=32)
    source = serializers.CharField(required=False, max_length=32)  # type: ignore[assignment] # a field
    state = serializers.ChoiceField(choices=FILES_STATES, required=False)
    search = serializers.CharField(required=False, max_length=128, help_text="In names.")


class Force(StrictQuery):
    force = serializers.BooleanField(
        default=False, help_text="Also take away the aliases that lead only here."
    )


class Settings(Strict):
    """Settings of one model, all optional; null is the default again."""

    pinned = serializers.BooleanField(required=False, allow_null=True)
    priority = serializers.IntegerField(required=False, allow_null=True)
    idle_unload_s = serializers.FloatField(
        required=False, allow_null=True, help_text="Unload after so long without use; 0: never."
    )
    context_tokens = serializers.IntegerField(required=False, allow_null=True)
    dtype = serializers.CharField(required=False, allow_null=True)
    device = serializers.CharField(required=False, allow_null=True)
    quantization = serializers.CharField(
        required=False, allow_null=True, help_text="While loading, where the engine offers it."
    )
    max_concurrency = serializers.IntegerField(required=False, allow_null=True)
    max_queue = serializers.IntegerField(required=False, allow_null=True)
    replicas = serializers.IntegerField(
        required=False,
        allow_null=True,
        help_text="Engines at once, each on a GPU of its own; 1 to 16.",
    )
    options = serializers.DictField(
        required=False, allow_null=True, help_text="What only this engine knows."
    )


class Ownership(Strict):
    """Whose a row is, and who sees it."""

    team = serializers.CharField(required=False, max_length=64, help_text="Who owns it.")
    visibility = serializers.ChoiceField(
        choices=Visibility.values, required=False, help_text="hub: everybody; team: its members."
    )


class Change(Settings, Ownership):
    tags = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=32, required=False
    )
    api_key = serializers.CharField(
        required=False, max_length=4096, write_only=True, help_text="Of a remote model."
    )
    engine = serializers.CharField(
        required=False, max_length=32, help_text="Another one that serves the same files."
    )


FIELDS_OF = {  # what each source alone takes
    "huggingface": frozenset({"model_id", "revision", "files", "base"}),
    "local": frozenset({"path", "copy"}),
    "adapter": frozenset({"path", "base"}),
    "variant": frozenset({"of", "engine"}),
    "remote": frozenset({"base_url", "upstream_model", "api_key", "kind"}),
}


class AddRequest(Ownership):
    """Which fields are needed depends on `source`."""

    source = serializers.ChoiceField(choices=list(entries.SOURCES))  # type: ignore[assignment] # a field
    name = serializers.CharField(max_length=128, help_text="How clients call it.")
    model_id = serializers.CharField(required=False, max_length=200, help_text="huggingface")
    revision = serializers.CharField(required=False, max_length=64, help_text="huggingface: main")
    files = serializers.ListField(
        child=serializers.CharField(max_length=200),
        max_length=32,
        required=False,
        help_text="huggingface: names or patterns of weights, such as *Q4_K_M.gguf",
    )
    path = serializers.CharField(required=False, max_length=1024, help_text="local, adapter")
    copy = serializers.BooleanField(
        required=False, help_text="local: copy the files instead of using them in place"
    )
    base = serializers.CharField(
        required=False, max_length=128, help_text="adapter, also from a hub: its model"
    )
    of = serializers.CharField(required=False, max_length=128, help_text="variant: of which model")
    engine = serializers.CharField(
        required=False, max_length=32, help_text="variant: another engine for the same files"
    )
    base_url = serializers.CharField(required=False, max_length=512, help_text="remote")
    upstream_model = serializers.CharField(required=False, max_length=256, help_text="remote")
    api_key = serializers.CharField(
        required=False, max_length=4096, write_only=True, help_text="remote; kept encrypted"
    )
    kind = serializers.CharField(required=False, max_length=16, help_text="remote: llm")
    tags = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=32, required=False
    )
    settings = Settings(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """What only another source takes would have no effect: it is refused, not dropped."""
        source = attrs["source"]
        others = frozenset[str]().union(*FIELDS_OF.values()) - FIELDS_OF[source]
        if strange := next((name for name in attrs if name in others), None):
            raise serializers.ValidationError({strange: [f"source `{source}` does not take it"]})
        return attrs


def settings_of(given: dict[str, Any]) -> dict[str, Any]:
    """Put `quantization` where the engine reads it."""
    found = dict(given)
    if "quantization" in found:
        options = found.get("options") or {}
        found["options"] = {**options, "quantization": found.pop("quantization")}
    return found


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
    state = serializers.ChoiceField(choices=AFTER_LOAD)
    memory_bytes = serializers.IntegerField(help_text="Measured.")
    device = serializers.CharField()
    dtype = serializers.CharField()
    context_tokens = serializers.IntegerField()
    load_s = serializers.FloatField()


class Unloaded(serializers.Serializer[Any]):
    model = serializers.CharField()
    state = serializers.ChoiceField(choices=AFTER_UNLOAD)


class Leaving(serializers.Serializer[Any]):
    model = serializers.CharField()
    state = serializers.CharField(help_text="draining: `GET status` shows it until it has ended.")
    running = serializers.IntegerField(help_text="Requests that are answered to their end.")


class Search(StrictQuery):
    q = serializers.CharField(max_length=hub_search.MAX_CHARS, help_text="In names.")


class Hit(serializers.Serializer[Any]):
    """A model of the model hub; sizes are 0 where it does not tell them."""

    model_id = serializers.CharField()
    downloads = serializers.IntegerField()
    likes = serializers.IntegerField()
    licence = serializers.CharField()
    task = serializers.CharField()
    is_gated = serializers.BooleanField(help_text="It needs a token of who was let in.")
    parameters = serializers.IntegerField()
    size_bytes = serializers.IntegerField()
    fit = Fit(allow_null=True, help_text="By its size alone: the least that it takes.")


class Upstream(Strict):
    base_url = serializers.CharField(max_length=512, help_text="Ends in /v1.")
    api_key = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=4096, write_only=True
    )


class Served(serializers.Serializer[Any]):
    models = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="null: it has no such list."
    )
