"""Rows of the catalog: models, the names that lead to them, uploads on their way, secrets."""

from django.db import models
from django.utils import timezone

from accounts.models import Owned, OwnedRows, Visibility


class Shared(Owned):
    """Names that requests use are for the whole hub, unless somebody says otherwise."""

    visibility = models.CharField(max_length=8, choices=Visibility.choices, default=Visibility.HUB)

    class Meta:
        abstract = True


class Models(OwnedRows["Model"]):
    """Reads of models."""


class Model(Shared):
    """A model that can be served; files live under the data folder or where the operator put them."""

    class State(models.TextChoices):
        QUEUED = "queued"  # waits for the worker
        UPLOADING = "uploading"
        DOWNLOADING = "downloading"
        INSPECTING = "inspecting"
        PREPARING = "preparing"
        AVAILABLE = "available"
        FAILED = "failed"
        CANCELLED = "cancelled"

    name = models.CharField(max_length=128, unique=True)
    kind = models.CharField(max_length=16)
    engine = models.CharField(max_length=32)
    path = models.CharField(max_length=1024)
    source = models.CharField(max_length=32, default="local")
    origin = models.CharField(max_length=1024, blank=True)  # a hub's id, an upstream's address
    revision = models.CharField(max_length=64, blank=True)  # a commit once it is known
    files = models.JSONField(default=list, blank=True)  # patterns of what to take from a hub
    owns_files = models.BooleanField(default=False)  # removing the row removes them
    base = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="adapters"
    )
    variant_of = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="variants"
    )
    tags = models.JSONField(default=list, blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.AVAILABLE)
    state_reason = models.TextField(blank=True)
    done_bytes = models.BigIntegerField(default=0)
    total_bytes = models.BigIntegerField(default=0)
    bytes_per_s = models.FloatField(default=0.0)
    report = models.JSONField(default=dict, blank=True)  # what the inspection found
    licence = models.CharField(max_length=64, blank=True)
    parameters = models.BigIntegerField(null=True, blank=True)
    quantization = models.CharField(max_length=32, blank=True)
    size_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)  # its files against their sums
    damage = models.JSONField(default=list, blank=True)  # what was wrong then
    context_tokens = models.IntegerField(default=0)
    settings = models.JSONField(default=dict, blank=True)
    measured_bytes = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = Models.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def is_attached(self) -> bool:
        """True for an adapter that its base's own resident serves."""
        return self.base_id is not None and bool(self.report.get("attached"))

    @property
    def served_as(self) -> str:
        """Name the resident that serves this model."""
        return self.base.name if self.base is not None and self.is_attached else self.name

    @property
    def is_arriving(self) -> bool:
        return self.state in ARRIVING

    @property
    def eta_s(self) -> float | None:
        """Seconds until all bytes are there; None while nobody can know."""
        moving = self.state in {Model.State.DOWNLOADING, Model.State.INSPECTING}
        if not moving or not self.bytes_per_s or not self.total_bytes:
            return None
        return max(0.0, (self.total_bytes - self.done_bytes) / self.bytes_per_s)


ARRIVING = frozenset({Model.State.QUEUED, Model.State.DOWNLOADING, Model.State.INSPECTING})


class Aliases(OwnedRows["Alias"]):
    """Reads of names and routes."""


class Alias(Shared):
    """Another name for a model, or a route: several targets with weights, one after another."""

    name = models.CharField(max_length=128, unique=True)
    # The target that takes most; with `targets` it is only what pages show first.
    target = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="aliases")
    targets = models.JSONField(default=list, blank=True)  # [{"model", "weight"}], in order
    former = models.JSONField(default=list, blank=True)  # targets before the last change
    sticky = models.BooleanField(default=False)  # a user stays with a target
    defaults = models.JSONField(default=dict, blank=True)  # parameters that a request leaves open
    system_prompt = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = Aliases.as_manager()

    def __str__(self) -> str:
        return self.name


class Upload(models.Model):
    """Files on their way from a browser: parts at their place in the files, and which are there."""

    id = models.CharField(max_length=32, primary_key=True)
    model = models.OneToOneField(Model, on_delete=models.CASCADE, related_name="upload")
    owner_id = models.BigIntegerField()
    files = models.JSONField()  # [{"path", "size_bytes", "sha256"}]
    touched_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.id


class UploadPart(models.Model):
    """One part that is on disk, with the digest that it was checked against."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    file = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upload", "file", "number"], name="upload_part_once")
        ]

    def __str__(self) -> str:
        return f"{self.upload_id} {self.file}.{self.number}"


class Secret(models.Model):
    """A secret under its name, encrypted; only inference.vault reads `sealed`."""

    name = models.CharField(max_length=128, unique=True)
    sealed = models.BinaryField()
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name
