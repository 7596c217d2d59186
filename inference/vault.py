"""Secrets in the database, encrypted with AI_HUB_FIELD_KEY: hub tokens, keys of upstreams.

Called by `entries`, `arrivals`, `catalog` and `manage.py set_secret`; no API gives a secret back.
"""

from django.db import transaction

from accounts import audit, sealing
from inference.errors import Unavailable
from inference.models import Secret

HUGGINGFACE_TOKEN = "huggingface_token"  # noqa: S105 (its name)
NAMES = {HUGGINGFACE_TOKEN: "Token for the model hub (gated and private models)"}
MAX_CHARS = 4096


def put(name: str, value: str) -> None:
    """Keep a secret; an empty value forgets it."""
    with transaction.atomic():
        if value:
            _keep(name, value)
            audit.record("secret.set", "secret", name)
        elif Secret.objects.filter(name=name).delete()[0]:
            audit.record("secret.forget", "secret", name)


def get(name: str) -> str:
    """Give a secret, or an empty string. Raises: Unavailable when the key is another one now."""
    row = Secret.objects.filter(name=name).first()
    if row is None:
        return ""
    try:
        return sealing.unseal(_place(name), bytes(row.sealed).decode())
    except sealing.Unreadable:
        raise Unavailable(
            f"the secret {name} was encrypted with another AI_HUB_FIELD_KEY; set it again"
        ) from None


def reseal() -> int:
    """Seal every secret with the newest key; give how many. Raises: Unavailable."""
    names = sorted(known())
    for name in names:
        with transaction.atomic():
            Secret.objects.select_for_update().filter(name=name).first()
            _keep(name, get(name))
    return len(names)


def known() -> set[str]:
    """Name the secrets that are set."""
    return set(Secret.objects.values_list("name", flat=True))


def of_model(name: str) -> str:
    """Name the secret of a remote model."""
    return f"model:{name}"


def _keep(name: str, value: str) -> None:
    sealed = sealing.seal(_place(name), value).encode()
    Secret.objects.update_or_create(name=name, defaults={"sealed": sealed})


def _place(name: str) -> str:
    return f"secret:{name}"
