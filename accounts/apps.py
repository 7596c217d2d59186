"""Accounts: who may do what, and what they did."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import redaction, signals  # noqa: PLC0415

        redaction.install()
        signals.connect()
