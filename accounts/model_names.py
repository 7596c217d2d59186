"""What `accounts` asks `inference` about names of models, which it does not import."""

from django.conf import settings
from django.utils.module_loading import import_string


def leads_to(name: str) -> list[str]:
    """Give the models behind another name; nothing for a model's own."""
    found: list[str] = import_string(settings.HUB_MODELS_OF_NAME)(name)
    return found
