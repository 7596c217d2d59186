"""The row of a third-party application."""

from typing import ClassVar

from django.db import models
from oauth2_provider.models import AbstractApplication

from accounts.models.people import User


class Application(AbstractApplication):  # type: ignore[misc] # the library has no types
    """A program of somebody else's that asks people, or acts as a service account."""

    scopes = models.JSONField(default=list)  # what it may ask for
    service = models.ForeignKey(  # client credentials act as this account
        User, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    user = models.ForeignKey(  # who registered it
        User, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )

    objects: ClassVar[models.Manager["Application"]] = models.Manager()

    class Meta(AbstractApplication.Meta):  # type: ignore[misc]
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return str(self.name)
