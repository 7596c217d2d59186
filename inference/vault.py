"""Secrets in the database, encrypted with AI_HUB_FIELD_KEY: hub tokens, keys of upstreams.

Called by `entries`, `arrivals`, `catalog` and `manage.py set_secret`; no API gives a secret back.
"""

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from inference.errors import Unavailable
from inference.models import Secret

HUGGINGFACE_TOKEN = "huggingface_token"  # noqa: S105 (its name)
NAMES = {HUGGINGFACE_TOKEN: "Token for the model hub (gated and private models)"}
MAX_CHARS = 4096


def put(name: str, value: str) -> None:
    """Keep a secret; an empty value forgets it."""
    if not value:
        Secret.objects.filter(name=name).delete()
        return
    sealed = _cipher().encrypt(value.encode())
    Secret.objects.update_or_create(name=name, defaults={"sealed": sealed})


def get(name: str) -> str:
    """Give a secret, or an empty string. Raises: Unavailable when the key is another one now."""
    row = Secret.objects.filter(name=name).first()
    if row is None:
        return ""
    try:
        return _cipher().decrypt(bytes(row.sealed)).decode()
    except InvalidToken:
        raise Unavailable(
            f"the secret {name} was encrypted with another AI_HUB_FIELD_KEY; set it again"
        ) from None


def known() -> set[str]:
    """Name the secrets that are set."""
    return set(Secret.objects.values_list("name", flat=True))


def of_model(name: str) -> str:
    """Name the secret of a remote model."""
    return f"model:{name}"


def _cipher() -> Fernet:
    return Fernet(settings.HUB_FIELD_KEY)
