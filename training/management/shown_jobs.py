"""What /api/v1/training takes and shows."""

from typing import Any

from rest_framework import serializers

from accounts.strict import Strict
from training import after, trackers
from training.models import Export, Job
from training.recipes import shapes

PLAIN = (
    "id",
    "base",
    "training_type",
    "state",
    "reason",
    "position",
    "error_code",
    "error_message",
    "fine_tuned_model",
    "result_file_id",
    "suffix",
    "seed",
    "recipe",
    "reasons",
    "estimate_bytes",
    "measured_bytes",
    "limit_bytes",
    "is_preemptible",
    "step",
    "steps",
    "tokens",
    "eta_s",
    "created_at",
    "started_at",
    "ended_at",
    "mlflow_run",
    "stage",
    "prompts",
    "gate",
    "verdict",
)


class Wanted(Strict):
    base_model = serializers.CharField(max_length=128)
    dataset = serializers.CharField(max_length=128, help_text="Id or name of a data set.")
    dataset_version = serializers.IntegerField(
        default=None, allow_null=True, min_value=1, help_text="Its number; the newest if not given."
    )
    training_type = serializers.CharField(
        max_length=24, help_text=f"One of {', '.join(sorted(shapes.TYPES))}."
    )
    training_config = serializers.DictField(
        default=dict, help_text="What is not given is resolved."
    )
    suffix = serializers.CharField(max_length=64, default="", allow_blank=True)
    seed = serializers.IntegerField(
        default=None, allow_null=True, min_value=0, max_value=shapes.MAX_SEED
    )
    is_preemptible = serializers.BooleanField(
        default=True, help_text="It pauses when a request needs the memory, and goes on later."
    )
    prompts = serializers.ListField(
        child=serializers.CharField(max_length=after.LONGEST_PROMPT),
        max_length=after.MOST_PROMPTS,
        default=list,
        help_text="Answered at each evaluation, beside the base.",
    )
    guard = serializers.CharField(
        max_length=128, default="", help_text="A data set that should not become worse."
    )
    gate = serializers.DictField(default=dict, help_text="Limits: see docs/training.md.")
    exports = serializers.ListField(
        child=serializers.ChoiceField(choices=Export.Kind.choices), default=list
    )


class NewJob(Wanted):
    draft = serializers.BooleanField(default=False, help_text="Wait until it is submitted.")


class PlanView(serializers.Serializer[Any]):
    """What a training would be; sizes in bytes."""

    fits = serializers.BooleanField(help_text="Memory and disk, with nothing else in the way.")
    verdict = serializers.CharField(help_text="fits, fits_after_unloading, waits, does_not_fit.")
    reason = serializers.CharField(help_text="Why it waits or does not fit.")
    memory = serializers.DictField(help_text="needed, free, limit, and the parts of the formula.")
    unloads = serializers.ListField(child=serializers.DictField(), help_text="Who would leave.")
    wait_s = serializers.FloatField(allow_null=True)
    steps = serializers.IntegerField()
    tokens = serializers.IntegerField(help_text="Computed over all epochs.")
    seconds = serializers.FloatField(allow_null=True, help_text="Null: not known yet.")
    seconds_source = serializers.ChoiceField(
        choices=("job", "machine", "none"),
        help_text="How fast an earlier job was, or this machine with a small model.",
    )
    seconds_reason = serializers.CharField()
    disk = serializers.DictField(help_text="needed, free.")
    recipe = serializers.DictField(help_text="Every value a number.")
    reasons = serializers.DictField(help_text="Why, for each value that was not given.")
    seed = serializers.IntegerField()
    changes = serializers.ListField(
        child=serializers.DictField(), help_text="Of the recipe, with which it would fit."
    )


class ExportView(serializers.ModelSerializer[Export]):
    class Meta:
        model = Export
        fields = ("kind", "state", "reason", "report", "size_bytes", "created_at", "ended_at")


class JobView(serializers.ModelSerializer[Job]):
    team = serializers.CharField(help_text="Who owns it.")
    data_set_version = serializers.CharField(source="version_id")
    guard = serializers.CharField(source="guard_id", allow_null=True)
    exports = ExportView(source="made", many=True)
    mlflow_url = serializers.SerializerMethodField(help_text="Its run's page, below this hub.")

    class Meta:
        model = Job
        fields = (*PLAIN, "team", "data_set_version", "guard", "exports", "mlflow_url")

    def get_mlflow_url(self, row: Job) -> str:
        return trackers.address(row)


def job(row: Job) -> dict[str, Any]:
    return dict(JobView(row).data)
