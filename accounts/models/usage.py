"""Rows of use: one for each request, and their sums by hour and day. Labels outlive what they name."""

from typing import ClassVar

from django.db import models

NAME = 160
SUMS = (  # columns of `UsageTotal` that are added up
    "requests",
    "errors",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "audio_s",
    "duration_ms",
    "first_token_ms",
    "firsts",
    "cost_nano",
)


class Labels(models.Model):
    """Who asked for what: plain text and numbers, no keys of other rows."""

    key_id = models.CharField(max_length=64, blank=True)  # or `app_`, `jwt_` + id; empty: a session
    key_name = models.CharField(max_length=100, blank=True)
    user_id = models.BigIntegerField(default=0)
    username = models.CharField(max_length=150, blank=True)
    team_id = models.BigIntegerField(default=0)  # 0: no team
    team = models.CharField(max_length=NAME, blank=True)
    model = models.CharField(max_length=NAME, blank=True)  # empty: refused before it was known
    adapter = models.CharField(max_length=NAME, blank=True)
    alias = models.CharField(max_length=NAME, blank=True)  # the name asked for, if another one
    endpoint = models.CharField(max_length=64)

    class Meta:
        abstract = True


class Usage(Labels):
    """One request under /v1. `uid` is the hub's own; `request_id` may be a client's."""

    uid = models.CharField(max_length=32, unique=True)
    request_id = models.CharField(max_length=128)
    at = models.DateTimeField(db_index=True)  # when it came
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    estimated = models.BooleanField(default=False)  # no engine told the tokens of the prompt
    audio_s = models.FloatField(default=0)
    first_token_ms = models.IntegerField(null=True)
    duration_ms = models.IntegerField(default=0)
    status = models.PositiveSmallIntegerField()  # 499: the client left
    error_code = models.CharField(max_length=64, blank=True)
    cost_nano = models.BigIntegerField(default=0)  # of the currency, by the price of that time

    class Meta:
        ordering = ("-at", "-pk")
        indexes: ClassVar = [models.Index(fields=("user_id", "at"), name="usage_of_a_user")]

    def __str__(self) -> str:
        return f"{self.request_id} at {self.at:%Y-%m-%d %H:%M}"


class UsageTotal(Labels):
    """The sums of one hour or day; `slot` is a digest of what makes it one line."""

    slot = models.CharField(max_length=32, unique=True)
    span = models.CharField(max_length=4)  # hour | day
    at = models.DateTimeField()  # when the hour or day began, UTC
    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)  # refused, failed, left
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    audio_s = models.FloatField(default=0)
    duration_ms = models.BigIntegerField(default=0)
    first_token_ms = models.BigIntegerField(default=0)
    firsts = models.BigIntegerField(default=0)  # requests that came to a first token
    cost_nano = models.BigIntegerField(default=0)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=("span", "at"), name="total_span"),
            models.Index(fields=("span", "user_id", "at"), name="total_of_a_user"),
            models.Index(fields=("span", "key_id", "at"), name="total_of_a_key"),
        ]

    def __str__(self) -> str:
        return f"{self.span} of {self.at:%Y-%m-%d %H:%M}"


class Price(models.Model):
    """What a million tokens of a model (or adapter) cost; what has no row is free."""

    model = models.CharField(max_length=NAME, unique=True)
    prompt = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    cached = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    completion = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"price of {self.model}"
