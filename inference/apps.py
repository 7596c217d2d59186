"""Inference: a request becomes an answer."""

from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """What is owned by another team now is seen by others."""
        from accounts import teams  # noqa: PLC0415 (models are not there before)
        from inference import catalog  # noqa: PLC0415

        teams.moved.connect(lambda **_: catalog.invalidate(), weak=False, dispatch_uid="catalog")
