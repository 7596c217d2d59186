"""Rows of starts: the link of the first one, which of its steps were done, what the file said last."""

from django.db import models


class SetupLink(models.Model):
    """The digest of the one-time token with which the first admin account is made."""

    digest = models.BinaryField(max_length=32)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"set-up link of {self.created_at:%Y-%m-%d %H:%M}"


class SetupStep(models.Model):
    """A step that somebody was seen to have done; the counters that showed it end with their node."""

    name = models.CharField(max_length=32, unique=True)
    done_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class SeenConfig(models.Model):
    """What config/hub.json said when a web process last started; there is one row."""

    content = models.TextField()  # JSON by `section.field`

    def __str__(self) -> str:
        return "config/hub.json as it was seen last"
