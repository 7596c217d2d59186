"""Sessions are kept under digests of their keys: who is signed in stays so."""

import hashlib

from django.db import migrations


def _digest(session_key: str) -> str:
    return hashlib.sha256(session_key.encode()).hexdigest()[:40]


def forwards(apps, schema_editor) -> None:  # type: ignore[no-untyped-def]
    for model in (apps.get_model("sessions", "Session"), apps.get_model("accounts", "Visit")):
        for key in list(model.objects.values_list("session_key", flat=True)):
            model.objects.filter(session_key=key).update(session_key=_digest(key))


def backwards(apps, schema_editor) -> None:  # type: ignore[no-untyped-def]
    """A key cannot be told from its digest: everybody signs in again."""
    for model in (apps.get_model("sessions", "Session"), apps.get_model("accounts", "Visit")):
        model.objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0015_hub_wide_accounts"),
        ("sessions", "0001_initial"),
    ]

    operations = [migrations.RunPython(forwards, backwards)]
