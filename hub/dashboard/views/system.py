"""System: what this hub runs on, how it is, and how it is set up. Never a secret."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from hub import health
from hub.dashboard import guards, pages, units

LIBRARIES = (
    "django", "uvicorn", "channels", "torch", "transformers", "xllamacpp", "faster-whisper",
    "ctranslate2", "tokenizers", "msgspec",
)  # fmt: skip


@require_safe
@guards.needs("status:read")
def system(request: HttpRequest) -> HttpResponse:
    parts = async_to_sync(health.reasons)()
    context: dict[str, Any] = {
        "parts": parts,
        "not_ready": sum(1 for reason in parts.values() if reason),
        "versions": [("Python", platform.python_version()), *_versions()],
        "machine": f"{platform.system()} {platform.release()} · {platform.machine()}",
        "database": connection.vendor,
    }
    if guards.principal(request).allows("system:manage"):
        context["settings"] = _settings()
        context["hub_json"] = msgspec.json.format(msgspec.json.encode(settings.HUB_CONFIG)).decode()
    return pages.show(request, "pages/system.html", _("System"), ["memory"], context=context)


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _settings() -> list[tuple[str, str]]:
    """Give what AI_HUB_* variables set; addresses with passwords are left out."""
    return [
        ("AI_HUB_HOST", settings.HUB_HOST),
        ("AI_HUB_PORT", str(settings.HUB_PORT)),
        ("AI_HUB_PUBLIC_URL", settings.HUB_PUBLIC_URL or units.UNKNOWN),
        ("AI_HUB_DATA", str(settings.HUB_DATA)),
        ("AI_HUB_DEVICE", settings.HUB_DEVICE),
        ("AI_HUB_MODEL_SIZE", settings.HUB_MODEL_SIZE),
        ("AI_HUB_WEB_WORKERS", str(settings.HUB_WEB_WORKERS)),
        ("AI_HUB_CONFIG", str(settings.HUB_CONFIG_FILE)),
        ("AI_HUB_REDIS_URL", _("embedded") if settings.HUB_REDIS_IS_EMBEDDED else _("set")),
    ]
