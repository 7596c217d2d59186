"""Hub: the composition root."""

from django.apps import AppConfig
from django.conf import settings


class HubConfig(AppConfig):
    name = "hub"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from hub import broker, checks  # noqa: F401, PLC0415 - registers the checks

        broker.configure(settings.HUB_REDIS_URL)
