"""The model hub of the settings, with the token that is kept for it."""

from django.conf import settings

from inference import vault
from inference.hub_protocol import Hub


def configured() -> Hub:
    return Hub(
        endpoint=settings.HUB_HF_ENDPOINT,
        token=vault.get(vault.HUGGINGFACE_TOKEN),
        private_allowed=settings.HUB_PRIVATE_UPSTREAMS,
    )
