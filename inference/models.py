"""Rows of the catalog: models and the names that lead to them."""

from django.db import models


class Model(models.Model):
    """A model that can be served; files live under the data folder or where the operator put them."""

    class State(models.TextChoices):
        PREPARING = "preparing"
        AVAILABLE = "available"
        FAILED = "failed"

    name = models.CharField(max_length=128, unique=True)
    kind = models.CharField(max_length=16)
    engine = models.CharField(max_length=32)
    path = models.CharField(max_length=1024)
    source = models.CharField(max_length=32, default="local")
    state = models.CharField(max_length=16, choices=State.choices, default=State.AVAILABLE)
    state_reason = models.TextField(blank=True)
    licence = models.CharField(max_length=64, blank=True)
    parameters = models.BigIntegerField(null=True, blank=True)
    quantization = models.CharField(max_length=32, blank=True)
    size_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    context_tokens = models.IntegerField(default=0)
    settings = models.JSONField(default=dict, blank=True)
    measured_bytes = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name


class Alias(models.Model):
    """Another name for a model."""

    name = models.CharField(max_length=128, unique=True)
    target = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="aliases")

    def __str__(self) -> str:
        return self.name
